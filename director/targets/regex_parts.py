"""The parts of a regex and the automaton of states they build: Thompson's construction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

MAX_STATES = 1_000

Test = Callable[[str], object]
Span = tuple[int, "int | None"]


class PatternError(ValueError):
    """A pattern this dialect cannot read.

    Attributes:
        position: 0-based offset in the pattern.
    """

    def __init__(self, problem: str, position: int = 0) -> None:
        self.position = position
        super().__init__(problem)


class Automaton:
    """States that a reader of names can be in: some test a character, some only lead on."""

    def __init__(self) -> None:
        self.leads: list[list[int]] = []
        self.tests: list[Test | None] = []

    def state(self, test: Test | None = None) -> int:
        if len(self.leads) >= MAX_STATES:
            raise PatternError("is too large; expected fewer or smaller repetitions")
        self.leads.append([])
        self.tests.append(test)
        return len(self.leads) - 1

    def closure(self, states: set[int]) -> frozenset[int]:
        """All states that are reached without reading a character."""
        waiting = list(states)
        while waiting:
            for following in self.leads[waiting.pop()]:
                if following not in states:
                    states.add(following)
                    waiting.append(following)
        return frozenset(states)


class Part(ABC):
    """A piece of a pattern; `build` adds it to an automaton from state `start` and returns where it ends."""

    @abstractmethod
    def build(self, machine: Automaton, start: int) -> int:
        """The state in which a text that fits has been read."""


class One(Part):
    def __init__(self, test: Test) -> None:
        self.test = test

    def build(self, machine: Automaton, start: int) -> int:
        machine.leads[start].append(machine.state(self.test))
        return machine.state()  # directly behind the one that tests: `Regex._next` goes there by + 1


class Row(Part):
    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts

    def build(self, machine: Automaton, start: int) -> int:
        for part in self.parts:
            start = part.build(machine, start)
        return start


class Choice(Part):
    def __init__(self, rows: list[Part]) -> None:
        self.rows = rows

    def build(self, machine: Automaton, start: int) -> int:
        end = machine.state()
        for row in self.rows:
            begin = machine.state()
            machine.leads[start].append(begin)
            machine.leads[row.build(machine, begin)].append(end)
        return end


class Repeat(Part):
    def __init__(self, part: Part, span: Span) -> None:
        self.part = part
        self.least, self.most = span

    def build(self, machine: Automaton, start: int) -> int:
        for _ in range(self.least):
            start = self.part.build(machine, self._fresh(machine, start))
        if self.most is None:
            return self._loop(machine, start)
        end = machine.state()
        for _ in range(self.most - self.least):
            machine.leads[start].append(end)
            start = self.part.build(machine, self._fresh(machine, start))
        machine.leads[start].append(end)
        return end

    def _loop(self, machine: Automaton, start: int) -> int:
        begin, end = self._fresh(machine, start), machine.state()
        machine.leads[begin].append(end)
        machine.leads[self.part.build(machine, begin)].append(begin)
        return end

    @staticmethod
    def _fresh(machine: Automaton, start: int) -> int:
        begin = machine.state()
        machine.leads[start].append(begin)
        return begin
