"""Finds `<<NAME` words in a line of RUN, COPY or ADD."""

from __future__ import annotations

import re
from dataclasses import dataclass

from director.errors import VerbError
from director.language import braces
from director.language.words import quoted

MAX_HEREDOCS = 1000  # of one line
_GLUE = "\0"  # stands for a blank between `<<` and the name; no text has this character
_WORD = re.compile(rf"([0-9]{{0,4000}})<<(-?){_GLUE}*([^<]*)")
_LARGEST = 2**64 - 1
_BLANKS_BEHIND = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|(<<-?)([ \t\r]+)""", re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Opening:
    """`<<-"NAME"`: where a here-document begins; blanks may stand in front of the name.

    Attributes:
        name: the delimiter without quotes.
        expand: no part of it stands in quotes; a backslash is no quote.
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
    from director.language.expansion import Lexer

    # the escape is a backslash here whatever `# escape=` says, as it is for BuildKit
    held = list(braces.spans(line)) if braces.present(line) else []
    for start, end in reversed(held):
        line = line[:start] + "_" + line[end:]
    try:
        Lexer(line, keep_unset=True).render()
    except (ValueError, VerbError):
        return []
    found = [word for word in quoted(_BLANKS_BEHIND.sub(_glued, line)) if "<<" in word]
    if len(found) > MAX_HEREDOCS:
        raise ValueError(f"there are more than {MAX_HEREDOCS} heredocs in one line")
    return [opening for word in found if (opening := _opening(word))]


def closed_up(line: str) -> str:
    """`line` with the blanks between `<<` and a name taken out, so that each opening is one word."""
    return _BLANKS_BEHIND.sub(_glued, line).replace(_GLUE, "")


def _glued(found: re.Match[str]) -> str:
    """`<<` with its blanks replaced by as many of _GLUE; what is quoted or escaped stays as it is."""
    return found[1] + _GLUE * len(found[2]) if found[1] else found[0]


def _opening(word: str) -> Opening | None:
    found = _WORD.fullmatch(word)
    if not found or not found.group(3):
        return None
    from director.language.expansion import Lexer

    try:
        name = Lexer(found.group(3), keep_unset=True).render()
    except ValueError:  # a blank inside of `${ }` has cut the word in two
        return None
    if not name:
        return None
    bare = _ESCAPED.sub("", found.group(3))
    expand = "'" not in bare and '"' not in bare
    return Opening(name, expand, found.group(2) == "-", min(int(found.group(1) or 0), _LARGEST))
