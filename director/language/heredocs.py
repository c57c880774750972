"""Finds the `<<NAME` words of a line."""

from __future__ import annotations

import re

from director.errors import VerbError
from director.language import braces
from director.language.expansion import Lexer
from director.language.instructions import Heredoc
from director.language.words import quoted

MAX_HEREDOCS = 1000  # of one line
_GLUE = "\0"  # replaces a blank between `<<` and the name; no text has this character
_WORD = re.compile(rf"([0-9]{{0,4000}})<<(-?){_GLUE}*([^<]*)")
_LARGEST = 2**64 - 1
_BLANKS_BEHIND = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|(<<-?)([ \t\r]+)""", re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)


def openings(line: str) -> list[Heredoc]:
    """The here-documents that a line opens, in order, without content; blanks may be before their names.

    A line with an open quote opens none. Raises ValueError for too many.
    """
    if "<<" not in line:
        return []
    # as in BuildKit, the escape is a backslash here whatever `# escape=` says
    line = braces.replace(line, str, lambda pair: "_")
    try:
        Lexer(line, keep_unset=True).render()
    except (ValueError, VerbError):
        return []
    found = [word for word in quoted(_BLANKS_BEHIND.sub(_glued, line)) if "<<" in word]
    if len(found) > MAX_HEREDOCS:
        raise ValueError(f"there are more than {MAX_HEREDOCS} heredocs in one line")
    return [opening for word in found if (opening := _opening(word))]


def closed_up(line: str) -> str:
    """`line` without the blanks between `<<` and a name, so that each opening is one word."""
    return _BLANKS_BEHIND.sub(_glued, line).replace(_GLUE, "")


def _glued(found: re.Match[str]) -> str:
    """`<<` with each blank replaced by _GLUE; quoted and escaped text as it is."""
    return found[1] + _GLUE * len(found[2]) if found[1] else found[0]


def _opening(word: str) -> Heredoc | None:
    found = _WORD.fullmatch(word)
    if not found or not found.group(3):
        return None
    try:
        name = Lexer(found.group(3), keep_unset=True).render()
    except ValueError:  # a blank inside of `${ }` has split the word
        return None
    if not name:
        return None
    bare = _ESCAPED.sub("", found.group(3))
    expand = "'" not in bare and '"' not in bare  # a backslash is not a quote
    return Heredoc(name, "", expand, min(int(found.group(1) or 0), _LARGEST), found.group(2) == "-")
