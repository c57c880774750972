"""Makes the manual of a verb of its docstring and flags, for `VERB --help`; docs/verbs.md is made of the same parts."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from director.verbs.base import COMMON_FLAGS, Flag, Verb

_VALUES = {"str": "TEXT", "int": "N", "count": "N", "duration": "TIME", "ints": "N,N", "words": "A,B"}


def text_of(verb: Verb) -> str:
    """One verb's manual: its docstring, its flags, and the flags of every verb."""
    own = {flag.name for flag in verb.flags}
    common = [flag for flag in COMMON_FLAGS if flag.name not in own]
    parts = [doc_of(verb)]
    if verb.flags:
        parts.append("Flags:\n" + "\n".join(_flag_lines(verb.flags)))
    parts.append("Flags of every verb:\n" + "\n".join(_flag_lines(common)))
    return "\n\n".join(parts) + "\n"


def doc_of(verb: Verb) -> str:
    """The docstring, without indentation."""
    return inspect.cleandoc(type(verb).__doc__ or verb.name)


def _flag_lines(flags: Iterable[Flag]) -> list[str]:
    rows = [(spelling_of(flag), help_of(flag)) for flag in flags]
    width = max(len(left) for left, _ in rows)
    return [f"  {left:<{width}}  {right}" for left, right in rows]


def spelling_of(flag: Flag) -> str:
    """`--retry N`."""
    value = "" if flag.kind == "bool" else " " + (flag.metavar or _VALUES[flag.kind])
    return f"--{flag.name}{value}"


def help_of(flag: Flag) -> str:
    """What the flag does, its aliases and its default."""
    extra = [f"also --{alias}" for alias in flag.aliases] + (["may be repeated"] if flag.repeatable else [])
    extra += ["may differ per node"] if flag.per_node else []
    if flag.default is not None and flag.kind != "bool":
        shown = flag.default if flag.kind != "duration" else f"{flag.default:g} s"
        extra.append(f"default {shown}")
    return flag.help + (f" ({', '.join(extra)})" if extra else "")
