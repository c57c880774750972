"""Replaces braces and `$X` in one pass; results are not replaced again.

The template engine is imported only for a text with braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.language import origin
from director.language.braces import present, replace
from director.language.expansion import VALUE, Lexer

if TYPE_CHECKING:
    from director.language.types import Names

WAYS_OUT = (
    "write --raw on the step to leave braces alone, or use a RUN heredoc with a quoted delimiter, "
    "which is never rendered"
)
_SOMETHING = re.compile(r"""[\\'"`$]""")
_NO_NAMES: Mapping[str, str] = {}


def render_text(raw: str, names: Mapping[str, Any]) -> str:
    """Replace `{{ }}` and `{% %}` only: for RUN, and for files with `--blueprint`.

    Args:
        raw: the text as written.
        names: what the templates may use; `types.Names` also has the text that `{{ NAME }}` alone prints.

    Raises:
        VerbError: a name is undefined, or an expression fails.
    """
    if not present(raw):
        return raw
    return "".join(_pieces(raw, names))


def render_shell(raw: str, names: Names) -> str:
    """As `render_text`, for text that a shell reads: it may have relayed values only if no shell acts on them.

    Raises:
        VerbError: as `render_text`; or it would have such a value, neither plain nor quoted.
    """
    if not present(raw):
        return raw
    from director.language import templating

    return "".join(templating.render(raw, names, names.texts, names.relayed()))


def render_word(
    raw: str,
    names: Mapping[str, Any],
    dollars: Callable[[str], str | None],
    escape: str = "\\",
    quotes: bool = True,
    braces: bool = True,
) -> str:
    """Replace braces and `$X` in one pass and remove quotes and escapes.

    Args:
        raw: one word as written; it may have blanks.
        names: as for `render_text`.
        dollars: the text of a name, or None when it is not set.
        escape: the escape character.
        quotes: False for the content of a heredoc and a flag's value, where quotes have no meaning.
        braces: False for a step with `--raw`, where braces have no meaning.

    Raises:
        VerbError: as `render_text`; a quote or `${` is not closed; `${X:?message}` of an unset name.
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
    """Raises ValueError when the braces of `raw` cannot be parsed; the message has both ways to avoid it."""
    if not present(raw):
        return
    from director.language import templating

    try:
        templating.check(raw)
    except ValueError as error:
        raise ValueError(f"the braces cannot be read: {str(error).rstrip('.')}; {WAYS_OUT}") from None


def check_shell(raw: str) -> None:
    """As `check`, for text that a shell reads: the filter `quote` must protect where it stands. Raises ValueError."""
    check(raw)
    if origin.QUOTE in raw and present(raw):
        from director.language import templating

        templating.check_shell(raw)


def secrets_in(raw: str) -> set[str]:
    """The names of the secrets that the braces of `raw` use. Raises ValueError: they cannot be parsed, or known."""
    if origin.SECRET not in raw or not present(raw):
        return set()
    from director.language import templating

    return templating.secrets_in(raw)


def declares_code(raw: str) -> bool:
    """Whether values are declared as code for a shell in `raw`, which can be parsed."""
    if origin.CODE not in raw or not present(raw):
        return False
    from director.language import templating

    return origin.CODE in templating.filters(raw)


def check_word(raw: str, escape: str = "\\", quotes: bool = True) -> None:
    """As `check`, also for quotes and `$X` that are not closed. Raises ValueError."""
    check(raw)
    if _SOMETHING.search(raw):
        _used_dollars(raw, escape, quotes)


def _used_dollars(raw: str, escape: str, quotes: bool, templates: bool = True) -> set[str]:
    used: set[str] = set()

    def note(name: str) -> str:
        used.add(name)
        return "x"  # a value, so that ${X:?} does not fail

    text = replace(raw, str, lambda pair: VALUE) if templates else raw
    Lexer(text, note, escape, ["x"] * text.count(VALUE), quotes).render()
    return used


def used_names(raw: str, escape: str = "\\", dollars: bool = True, templates: bool = True) -> set[str]:
    """The names that `raw` uses in braces and in `$X`.

    Args:
        raw: the text as written.
        escape: the escape character.
        dollars: False for a text whose `$X` a shell replaces.
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
