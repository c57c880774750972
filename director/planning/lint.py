"""Warnings about instructions that are legal but likely wrong, for `--plan`; each is `FILE:LINE: text`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from director import verbs
from director.language import braces
from director.language.instructions import Document, Instruction, pairs
from director.language.scope import RESERVED, is_proxy
from director.language.substitution import declares_code, used_names
from director.planning.plan import PlannedStep

_CD = re.compile(r"cd(?:\s+(?:\"[^\"]*\"|'[^']*'|[^\s;&|]+))?\s*")
_REBOOT = re.compile(
    r"(?:^|[;&|(]\s*|\bsudo\s+(?:-\S+\s+)*|\bexec\s+)(?:/\S*/)?"
    r"(?:reboot\b|shutdown\s+(?:\S+\s+)*?(?:-r|--reboot)\b|systemctl\s+(?:-\S+\s+)*reboot\b|init\s+6\b)",
    re.MULTILINE,
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRETS = frozenset(("PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "SECRET", "KEY", "APIKEY", "CREDENTIALS"))
#: names that Jinja itself defines
_JINJA = frozenset(("range", "dict", "lipsum", "cycler", "joiner", "namespace", "loop", "self", "caller", "varargs"))
_PLATFORM = frozenset(("TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"))


def lint(document: Document, steps: Sequence[PlannedStep], given: Iterable[str]) -> Iterator[str]:
    """The warnings about a planned text.

    Args:
        given: the names of `--arg`.
    """
    every = [*document.globals, *(step for stage in document.stages for step in stage.instructions)]
    yield from _unused_args(document, every)
    yield from _undefined(document, every, steps, frozenset(given))
    yield from _code(document, steps)
    secret = {name for step in every if step.flags.get("secret") for name in _names(step)}
    for number, step in enumerate(every):
        for text in (*_secrets(step, secret), *_commands(step, number + 1 < len(every))):
            yield _at(step, text)


def _at(step: Instruction, text: str) -> str:
    return f"{step.file}:{step.line}: {text}"


def _names(step: Instruction) -> list[str]:
    """The names that an ARG or ENV sets, if they are plain words."""
    try:
        found = [name for name, _ in pairs(step)]
    except ValueError:
        return []
    return [name for name in found if _WORD.fullmatch(name)]


def _outputs(step: Instruction) -> list[str]:
    return [str(step.flags[flag]) for flag in ("stdout-arg", "stderr-arg") if flag in step.flags]


def _unused_args(document: Document, every: Sequence[Instruction]) -> Iterator[str]:
    if any(step.flags.get("blueprint") for step in every):
        return  # the templates may use them
    words = [set(_WORD.findall(_whole(step))) for step in every]
    elsewhere = {
        word for stage in document.stages for text in (*stage.targets, stage.platform) for word in _WORD.findall(text)
    }
    for number, step in enumerate(every):
        for name in _names(step) if step.syntax.sets == "arg" else ():
            used = any(name in found for other, found in enumerate(words) if other != number)
            used = used or len(re.findall(rf"\b{name}\b", step.text)) > 1  # by a value of the same ARG
            if not used and name not in elsewhere and not is_proxy(name):
                yield _at(step, f"ARG {name} is used by no other step here")


def _whole(step: Instruction) -> str:
    flags = " ".join(str(value) for value in step.flags.values())
    pairs_text = " ".join(f"{name} {value}" for name, value in step.pairs or ())
    return "\n".join((step.text, flags, pairs_text, *step.assign, *(heredoc.content for heredoc in step.heredocs)))


def _undefined(
    document: Document, every: Sequence[Instruction], steps: Sequence[PlannedStep], given: frozenset[str]
) -> Iterator[str]:
    """Warnings about names in braces that no step sets."""
    if any(step.syntax.sets == "other" for step in every):
        return  # the names it sets are known only on the node
    known = {*given, *RESERVED, *_JINJA, *_PLATFORM}
    for step in every:
        known.update(_names(step) if step.syntax.sets else ())
        known.update(_outputs(step))
    for row in (planned.row for planned in steps):
        raws = [] if row["flags"].get("raw") else verbs.load(row["verb"]).raws(row["body"])
        used = {name for _, raw in raws if raw and braces.present(raw) for name in used_names(raw, dollars=False)}
        for name in sorted(used - known):
            text = f"{name} in a template is set by no step here; unless the nodes remember it, the step will fail"
            yield f"{document.file}:{row['line']}: {text}"


def _code(document: Document, steps: Sequence[PlannedStep]) -> Iterator[str]:
    """Remarks on values that a shell runs as code."""
    for row in (planned.row for planned in steps):
        raws = [] if row["flags"].get("raw") else verbs.load(row["verb"]).raws(row["body"])
        if any(kind == "shell" and declares_code(raw) for kind, raw in raws):
            text = "with shell_code the shell runs values as code, also what other nodes said"
            yield f"{document.file}:{row['line']}: {text}"


def _secrets(step: Instruction, secret: Collection[str]) -> Iterator[str]:
    named = _names(step) if step.syntax.sets in ("arg", "env") and not step.flags.get("secret") else ()
    made = [name for name in _outputs(step) if name not in secret]
    for name in (*named, *made):
        if _SECRETS.intersection(name.upper().split("_")):
            way = f"write ARG --secret {name} before" if name in made else "use --secret"
            kept = "values are kept in plain text on the nodes and shown by --node-info"
            yield f"{name} looks like a secret: {kept}; {way}"


def _commands(step: Instruction, followed: bool) -> Iterator[str]:
    if not step.syntax.command or step.args is not None:
        return
    if _CD.fullmatch(step.text.strip()):
        yield "cd applies to this RUN only; use WORKDIR for the steps after it"
    text = "\n".join((step.text, *(heredoc.content for heredoc in step.heredocs)))
    if followed and _REBOOT.search(text):
        yield "this RUN restarts the node before the steps after it; use REBOOT, which waits until the node is back"
