"""The verbs that the language's tests read with, and short ways to read."""

from __future__ import annotations

from director import verbs
from director.language.instructions import Document, Instruction
from director.language.reader import read

VERBS = verbs.every()


def document(text: str, file: str = "exec", form: str = "auto") -> Document:
    """A text read with Director's verbs."""
    return read(text, file, form, verbs=VERBS)


def steps(text: str, form: str = "containerfile") -> list[Instruction]:
    """All instructions of a text in order."""
    return [step for stage in document(text, "f", form).stages for step in stage.instructions]


def yaml_step(text: str) -> Instruction:
    """The one step written as `- VERB: …`, indented by two blanks."""
    (found,) = steps("- jobs:\n" + "\n".join("  " + line for line in text.split("\n")), "yaml")
    return found
