"""Makes manuals of docstrings and flags: for `VERB --help` and docs/verbs.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from director.verbs import ALIASES, VERBS, load
from director.verbs.base import COMMON_FLAGS, Flag, Verb

_VALUES = {"str": "TEXT", "int": "N", "count": "N", "duration": "TIME", "ints": "N,N", "words": "A,B"}


def text_of(verb: Verb) -> str:
    """One verb's manual: its docstring, its flags, and the flags of every verb."""
    own = {flag.name for flag in verb.flags}
    common = [flag for flag in COMMON_FLAGS if flag.name not in own]
    parts = [_doc(verb)]
    if verb.flags:
        parts.append("Flags:\n" + "\n".join(_flag_lines(verb.flags)))
    parts.append("Flags of every verb:\n" + "\n".join(_flag_lines(common)))
    return "\n\n".join(parts) + "\n"


def reference() -> str:
    """docs/verbs.md: the manuals of all built-in verbs, as Markdown."""
    lines = ["# Verbs", "", "`director --exec 'VERB --help'` prints the same.", ""]
    lines += ["## Flags of every verb", "", *_table(COMMON_FLAGS)]
    for name in VERBS:
        verb = load(name)
        others = [alias for alias, target in ALIASES.items() if target == name]
        lines += ["", f"## {name}" + "".join(f", {alias}" for alias in others), ""]
        lines += _markdown(_doc(verb))
        if verb.flags:
            lines += ["", *_table(verb.flags)]
    return "\n".join(lines) + "\n"


def _doc(verb: Verb) -> str:
    return inspect.cleandoc(type(verb).__doc__ or verb.name)


def _flag_lines(flags: Iterable[Flag]) -> list[str]:
    rows = [(_spelling(flag), _help(flag)) for flag in flags]
    width = max(len(left) for left, _ in rows)
    return [f"  {left:<{width}}  {right}" for left, right in rows]


def _spelling(flag: Flag) -> str:
    value = "" if flag.kind == "bool" else " " + (flag.metavar or _VALUES[flag.kind])
    return f"--{flag.name}{value}"


def _help(flag: Flag) -> str:
    extra = [f"also --{alias}" for alias in flag.aliases] + (["may be repeated"] if flag.repeatable else [])
    extra += ["may differ per node"] if flag.per_node else []
    if flag.default is not None and flag.kind != "bool":
        shown = flag.default if flag.kind != "duration" else f"{flag.default:g} s"
        extra.append(f"default {shown}")
    return flag.help + (f" ({', '.join(extra)})" if extra else "")


def _table(flags: Iterable[Flag]) -> Iterator[str]:
    yield "| flag | does |"
    yield "|---|---|"
    for flag in flags:
        yield f"| `{_cell(_spelling(flag))}` | {_cell(_help(flag))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown(doc: str) -> Iterator[str]:
    """Make code blocks of indented examples; all else is Markdown already."""
    inside = False
    for line in doc.splitlines():
        indented = line.startswith("    ")
        if indented != inside and (line or not inside):
            if indented:
                yield "```"
            else:
                yield from ("```", "") if inside else ()
            inside = indented
        if line or not inside:
            yield line[4:] if indented else line
    if inside:
        yield "```"
