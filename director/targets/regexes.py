"""Regexes that cannot hang: an automaton made deterministic as names are read.

The dialect is Python's without what needs backtracking: no look-around, no back-references, no `\\b`. A
name of n characters costs n steps, each bounded by the automaton's states.
"""

from __future__ import annotations

from director.targets.regex_parts import MAX_STATES, Automaton, PatternError
from director.targets.regex_reader import Reader

MAX_PATTERN = 500
_MAX_KNOWN = 5_000

__all__ = ["MAX_PATTERN", "MAX_STATES", "PatternError", "Regex"]


class _State:
    """One deterministic state: a set of the automaton's, and where each character seen so far leads."""

    __slots__ = ("edges", "final", "members")

    def __init__(self, members: frozenset[int], final: bool) -> None:
        self.members = members
        self.final = final
        self.edges: dict[str, _State] = {}


class Regex:
    """A compiled pattern; `matches(name)` says whether it fits the whole name.

    Raises:
        PatternError: the pattern is longer than MAX_PATTERN characters, needs more than MAX_STATES states,
            or uses what the dialect does not have.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise PatternError(f"is longer than {MAX_PATTERN} characters", MAX_PATTERN)
        self._machine = Automaton()
        start = self._machine.state()
        self._end = Reader(pattern).whole().build(self._machine, start)
        self._begin = self._machine.closure({start})
        self._forget()

    def _forget(self) -> None:
        self._known: dict[frozenset[int], _State] = {}
        self._first = self._state(self._begin)

    def _state(self, members: frozenset[int]) -> _State:
        state = self._known.get(members)
        if state is None:
            state = self._known[members] = _State(members, self._end in members)
        return state

    def _next(self, state: _State, character: str) -> _State:
        tests = self._machine.tests
        after = {at + 1 for at in state.members if (test := tests[at]) is not None and test(character)}
        following = state.edges[character] = self._state(self._machine.closure(after))
        return following

    def matches(self, name: str) -> bool:
        """Whether the pattern fits the whole of `name`."""
        if len(self._known) > _MAX_KNOWN:
            self._forget()
        state = self._first
        for character in name:
            state = state.edges.get(character) or self._next(state, character)
            if not state.members:
                return False
        return state.final
