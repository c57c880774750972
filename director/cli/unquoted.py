"""Joins an instruction without quotes, as in `--exec RUN uptime`, to one text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from director import TYPE_CHECKING
from director.config.commands import is_bare_verb
from director.config.table import ACTIONS, BY_FLAG
from director.errors import UsageError

if TYPE_CHECKING:
    from director.verbs.base import Verb

# flags of a call that people write behind an instruction by mistake
MISPLACED = frozenset(("target", "wait", "wait-timeout", "valid-for", "stream", "output", "name"))
_WITHOUT_VALUE = frozenset(("wait", "stream"))


def join_instruction(argv: Sequence[str]) -> list[str]:
    """The words with a bare verb and all words after it joined to one: `--exec=RUN uptime -p`.

    Raises:
        UsageError: the instruction holds a flag of the call that the verb does not have, or has no `--exec`.
    """
    words = list(argv)
    if words and words[0].isalpha() and _verb(words[0]) is not None:
        from shlex import quote

        raise UsageError(f"an instruction is given with --exec: director --exec {quote(' '.join(words))}")
    for index, word in enumerate(words):
        if word == "--":
            break
        if word == "--exec":
            verb, behind = "".join(words[index + 1 : index + 2]), words[index + 2 :]
        elif word.startswith("--exec="):
            verb, behind = word.removeprefix("--exec="), words[index + 1 :]
        else:
            continue
        if is_bare_verb(verb):
            return [*words[:index], *_joined(words[:index], verb, behind)]
    return words


def _joined(before: Sequence[str], verb: str, behind: list[str]) -> list[str]:
    """`--exec=TEXT` and the words after the text; `before` are those before `--exec`, for a message."""
    end = behind.index("--") if "--" in behind else len(behind)
    names = [_flag(word) for word in behind[:end]]
    if names and names[0] and _is_directors(names[0]):
        known = _verb(verb)
        if known is not None and known.complete and names[0] not in _flags(known):
            return [f"--exec={verb}", *behind]
    if not MISPLACED.isdisjoint(names):
        _check(before, verb, behind, names)
    return ["--exec=" + " ".join((verb, *behind))]


def _flag(word: str) -> str:
    """`target` for `--target` and `--target=x`, "" for any other word."""
    return word[2:].partition("=")[0] if word.startswith("--") else ""


def _is_directors(name: str) -> bool:
    return "--" + name in BY_FLAG or any(name == action.name for action in ACTIONS)


def _verb(word: str) -> Verb | None:
    """The verb; None for one that only the server may know."""
    from director.verbs import ALIASES, VERBS, load

    name = word.upper()
    return load(name) if name in VERBS or name in ALIASES else None


def _flags(verb: Verb | None) -> Collection[str]:
    """The names of the flags of a verb; for None those that every verb has."""
    from director.verbs.base import COMMON_FLAGS

    return {flag.name for flag in COMMON_FLAGS} if verb is None else verb.flag_table


def _check(before: Sequence[str], verb: str, behind: Sequence[str], names: Sequence[str]) -> None:
    known = _verb(verb)
    own = _flags(known)
    # only the server knows the flags of an own verb; those before the argument may be among them
    first = 0 if known is not None else next((i for i, name in enumerate(names) if not name), len(names))
    found = [i for i in range(first, len(names)) if names[i] in MISPLACED and names[i] not in own]
    if not found:
        return
    moved, rest = _apart(behind, names, found)
    from shlex import join, quote

    raise UsageError(
        f"--{names[found[0]]} stands in the instruction, and {verb} has no such flag; if it is for the call: "
        f"director {join([*before, *moved, '--exec', verb, *rest])}; "
        f"if not: director {join([*before, '--exec'])} {quote(' '.join((verb, *behind)))}"
    )


def _apart(behind: Sequence[str], names: Sequence[str], found: Collection[int]) -> tuple[list[str], list[str]]:
    """The flags at the indexes `found` with their values, and the other words."""
    taken = set(found)
    taken.update(at + 1 for at in found if "=" not in behind[at] and names[at] not in _WITHOUT_VALUE)
    moved = [word for at, word in enumerate(behind) if at in taken]
    return moved, [word for at, word in enumerate(behind) if at not in taken]
