"""Reads one orchestration text in either form."""

from __future__ import annotations

from collections.abc import Mapping

from director.errors import LanguageError
from director.language import containerfile
from director.language.error_list import Faults
from director.language.instructions import Document, Syntax

MAX_SIZE = 4 << 20  # bytes of one text
_YAML_NAMES = (".yaml", ".yml")
_YAML_STARTS = ("- ", "---", "[", "{")


def read(
    text: str, file: str, form: str = "auto", verbs: Mapping[str, Syntax] = {}, faults: Faults | None = None
) -> Document:
    """The instructions of `text`, in stages.

    Args:
        text: the whole text.
        file: its name for messages: a path, `exec` or `-`.
        form: `containerfile`, `yaml`, or `auto`: by the ending of `file`, else by the start of the text.
        verbs: every verb and alias in upper case, with what the reader must know of it.
        faults: collects the errors of instructions, which the document then lacks; None to raise them.

    Raises:
        LanguageError: the text is wrong.
        LanguageErrors: several errors.
    """
    _check(text, file)
    found = Faults() if faults is None else faults
    if (form if form != "auto" else form_of(text, file)) == "containerfile":
        document = containerfile.read(text, file, verbs, found)
    else:
        from director.language import yaml_form

        document = yaml_form.read(text, file, verbs, found)
    if faults is None:
        found.check()
    return document


def _check(text: str, file: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise LanguageError("the text is not UTF-8", file, text.count("\n", 0, error.start) + 1) from None
    if size > MAX_SIZE:
        raise LanguageError(f"the text has {size} bytes; expected at most {MAX_SIZE}", file, 1)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise LanguageError("there is a NUL character; expected text", file, line)


def form_of(text: str, file: str) -> str:
    """`yaml` or `containerfile`, by the file's name, else by the first line that is neither empty nor a comment."""
    if file.lower().endswith(_YAML_NAMES):
        return "yaml"
    for line in text.removeprefix("\ufeff").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            return "yaml" if line.startswith(_YAML_STARTS) or line == "-" else "containerfile"
    return "containerfile"
