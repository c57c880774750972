"""The flags that the language's tests use, and helpers that read texts."""

from __future__ import annotations

from director.language.instructions import Document, Instruction
from director.language.reader import read
from director.verbs.base import COMMON_FLAGS, Flag

_OWN: dict[str, tuple[Flag, ...]] = {
    "RUN": (
        Flag("user"),
        Flag("ok-codes", "ints"),
        Flag("retry", "int", aliases=("retries",)),
        Flag("mount", repeatable=True),
        Flag("no-block", "bool"),
    ),
    "COPY": (Flag("chown"), Flag("chmod"), Flag("from"), Flag("exclude", repeatable=True), Flag("link", "bool")),
    "ADD": (Flag("chown"), Flag("chmod"), Flag("unpack", "bool"), Flag("checksum")),
    "WAIT": (Flag("seconds", "duration"), Flag("url"), Flag("cmd", "rest")),
    "HEALTHCHECK": (Flag("interval", "duration"), Flag("url")),
    "PACKAGE": (Flag("exclude", "words"), Flag("latest", "bool")),
    "SERVICE": (Flag("restarted", "bool"),),
}
_PLAIN = ("ENV", "ARG", "LABEL", "USER", "WORKDIR", "EXPOSE", "SHELL", "ECHO", "QUERY", "CACHEFILE", "CACHEEVICT")
VERBS = {
    verb: {flag.name: flag for flag in (*COMMON_FLAGS, *_OWN.get(verb, ()))}
    for verb in (*_OWN, *_PLAIN, "REBOOT", "DNF")
}


def document(text: str, file: str = "exec", form: str = "auto") -> Document:
    """A text read with the tests' flags."""
    return read(text, file, form, verbs=VERBS)


def steps(text: str, form: str = "containerfile") -> list[Instruction]:
    """All instructions of a text in order."""
    return [step for stage in document(text, "f", form).stages for step in stage.instructions]


def yaml_step(text: str) -> Instruction:
    """The one step written as `- VERB: …`, indented by two blanks."""
    (found,) = steps("- jobs:\n" + "\n".join("  " + line for line in text.split("\n")), "yaml")
    return found
