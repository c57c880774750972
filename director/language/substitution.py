"""The one pass of substitution: braces and `$X` are replaced together, and no result is looked at again.

A text without braces never loads the template engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from director.errors import VerbError
from director.language.braces import present, spans
from director.language.expansion import VALUE, Lexer

WAYS_OUT = (
    "write --raw on the step to leave braces alone, or use a RUN heredoc with a quoted delimiter, "
    "which is never rendered"
)
_SOMETHING = re.compile(r"""[\\'"`$]""")
_NO_NAMES: Mapping[str, str] = {}


def render_text(raw: str, names: Mapping[str, Any]) -> str:
    """Replace `{{ }}` and `{% %}` and nothing else: RUN, and files with `--blueprint`.

    Args:
        raw: the text as written.
        names: what the templates may use; `values.Names` also knows what `{{ NAME }}` alone prints.

    Raises:
        VerbError: an undefined name (which is named), or an expression that fails.
    """
    if not present(raw):
        return raw
    return "".join(_pieces(raw, names))


def render_word(
    raw: str,
    names: Mapping[str, Any],
    dollars: Callable[[str], str | None],
    escape: str = "\\",
    quotes: bool = True,
    braces: bool = True,
) -> str:
    """Replace braces and `$X` in one pass and take quotes and escapes away.

    Args:
        raw: one word as written; blanks in it stay.
        names: as for `render_text`.
        dollars: the text of a name, or None when it is not set.
        escape: the escape character.
        quotes: False for the content of a heredoc or a flag's value: quotes are data there, escapes are not.
        braces: False for a step with `--raw`: braces are text.

    Raises:
        VerbError: as `render_text`, or a quote or `${` that is not closed, or `${X:?message}`.
    """
    values: list[str] = []
    if braces and present(raw):
        raw, values = _with_marks(_pieces(raw, names))
    elif not _SOMETHING.search(raw):
        return raw
    try:
        return Lexer(raw if values else raw.replace(VALUE, ""), dollars, escape, values, quotes).render()
    except ValueError as error:
        raise VerbError(str(error)) from None


def render_document(
    raw: str,
    names: Mapping[str, Any],
    dollars: Callable[[str], str | None],
    escape: str = "\\",
    braces: bool = True,
) -> str:
    """`render_word` for the content of a heredoc, where quotes are data."""
    return render_word(raw, names, dollars, escape, quotes=False, braces=braces)


def _pieces(raw: str, names: Mapping[str, Any]) -> list[str]:
    from director.language import templating

    return templating.render(raw, names, getattr(names, "texts", _NO_NAMES))


def _with_marks(pieces: list[str]) -> tuple[str, list[str]]:
    """One text with NUL for each value, and the values."""
    from director.language.templating import Piece

    text, values = [], []
    for piece in pieces:
        if isinstance(piece, Piece):
            text.append(str(piece).replace(VALUE, ""))
        else:
            text.append(VALUE)
            values.append(piece)
    return "".join(text), values


def check(raw: str) -> None:
    """Raises ValueError, with both ways out in its message, when the braces of `raw` do not parse."""
    if not present(raw):
        return
    from director.language import templating

    try:
        templating.check(raw)
    except ValueError as error:
        raise ValueError(f"the braces cannot be read: {str(error).rstrip('.')}; {WAYS_OUT}") from None


def check_word(raw: str, escape: str = "\\", quotes: bool = True) -> None:
    """As `check`, and also for quotes and `$X` that are not closed. Raises ValueError."""
    check(raw)
    if _SOMETHING.search(raw):
        _used_dollars(raw, escape, quotes)


def _used_dollars(raw: str, escape: str, quotes: bool, templates: bool = True) -> set[str]:
    used: set[str] = set()

    def note(name: str) -> str:
        used.add(name)
        return "x"  # set and not empty, so that ${X:?} is content

    start, pieces = 0, []
    for first, end in spans(raw) if templates else ():
        pieces += [raw[start:first], VALUE]
        start = end
    Lexer("".join((*pieces, raw[start:])), note, escape, ["x"] * (len(pieces) // 2), quotes).render()
    return used


def used_names(raw: str, escape: str = "\\", dollars: bool = True, templates: bool = True) -> set[str]:
    """The names that `raw` uses: the top-level ones in braces and those of `$X`.

    Args:
        raw: the text as written.
        escape: the escape character.
        dollars: False for a text whose `$X` belong to a shell.
        templates: False for a step with `--raw`.

    Raises:
        ValueError: as `check_word`.
    """
    used: set[str] = set()
    if templates and present(raw):
        check(raw)
        from director.language import templating

        used |= templating.names(raw)
    if dollars and "$" in raw:
        used |= _used_dollars(raw, escape, quotes=True, templates=templates)
    return used
