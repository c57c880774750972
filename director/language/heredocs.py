"""Finds `<<NAME` words in a line of RUN, COPY or ADD."""

from __future__ import annotations

import re
from dataclasses import dataclass

from director.errors import VerbError
from director.language import braces
from director.language.words import quoted

MAX_HEREDOCS = 1000  # of one line
_WORD = re.compile(r"([0-9]{0,4000})<<(-?)([^<]*)")
_LARGEST = 2**64 - 1
_QUOTING = re.compile(r"""['"\\]""")


@dataclass(frozen=True, slots=True)
class Opening:
    """`<<-"NAME"`: where a here-document begins.

    Attributes:
        name: the delimiter without quotes.
        expand: no part of it was quoted.
        chomp: `<<-`, leading tabs are dropped.
        fd: file descriptor before `<<`, 0 when none was written.
    """

    name: str
    expand: bool
    chomp: bool
    fd: int


def openings(line: str) -> list[Opening]:
    """The here-documents a line opens, in order; a line with a quote left open has none."""
    if "<<" not in line:
        return []
    from director.language.shell import Lexer

    # the escape is a backslash here whatever `# escape=` says, as it is for BuildKit
    held = list(braces.spans(line)) if braces.present(line) else []
    for start, end in reversed(held):
        line = line[:start] + "_" + line[end:]
    try:
        Lexer(line, keep_unset=True).render()
    except (ValueError, VerbError):
        return []
    found = [word for word in quoted(line) if "<<" in word]
    if len(found) > MAX_HEREDOCS:
        raise ValueError(f"there are more than {MAX_HEREDOCS} heredocs in one line")
    return [opening for word in found if (opening := _opening(word))]


def _opening(word: str) -> Opening | None:
    found = _WORD.fullmatch(word)
    if not found or not found.group(3):
        return None
    from director.language.shell import Lexer

    name = Lexer(found.group(3), keep_unset=True).render()
    if not name:
        return None
    expand = not _QUOTING.search(found.group(3))
    return Opening(name, expand, found.group(2) == "-", min(int(found.group(1) or 0), _LARGEST))
