"""Renders templates in a sandboxed, strict environment; no other module imports jinja2.

A template's own text and the values that it prints are separate pieces of the output, so that `$X` is replaced only
in the text.
"""

from __future__ import annotations

import functools
import re
import secrets
import shlex
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from director.errors import VerbError

MAX_OUTPUT = 1 << 20  # characters of the output, and of each value of an expression
MAX_RANGE = 100_000  # numbers of all range() calls of one rendering together
MAX_SOURCE = 4 << 20  # characters of one template
MAX_BRACES = 20_000
_LONE = re.compile(r"\r(?!\n)|(?<!\r)\n")
_PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*([0-9]*)(?:\.([0-9]*))?")
_COLON = re.compile(r":[^{}]*?([0-9]{7,})")
_NESTED = re.compile(r"\{[^{}]*:[^{}]*\{")
_NO_NAME = re.compile(r"'[^']+' is undefined")
MAX_KEPT = 16 << 10  # characters; longer templates are not cached
_WIDE = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs"))
_WRITTEN = "\ue004written"  # names that no template can use
_TEXTS = "\ue004texts"


@functools.cache
def _marks() -> tuple[str, str]:
    """What is put around a template's own text in the output; random, so that no value has it."""
    secret = secrets.token_hex(8)
    return f"\ue000{secret}(", f"){secret}\ue001"


class Piece(str):
    """A part of the output that is the template's own text."""

    __slots__ = ()


def _too_large(what: str) -> SecurityError:
    return SecurityError(f"{what} would be larger than {MAX_OUTPUT} characters")


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja with braces only, items before attributes, and limits for the values of expressions."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of a mapping before its method, as in `facts.cpu.count` and `query.web.items`."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse results that would need much memory or time."""
        if operator == "*" and _product(left, right) > MAX_OUTPUT:
            raise _too_large("the product")
        if operator == "**" and _is_number(left) and _is_number(right) and not _small_power(left, right):
            raise _too_large("the power")
        if operator == "+" and _length(left) + _length(right) > MAX_OUTPUT:
            raise _too_large("the sum")
        if operator == "%" and isinstance(left, str):
            _check_format(left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` that refuses large widths."""
        inner = super().wrap_str_format(value)
        if inner is None:
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            _check_str_format(str(value.__self__), (*args, *kwargs.values()))
            return inner(*args, **kwargs)

        return bounded

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuse large widths and long replacements."""
        name = getattr(__obj, "__name__", "")
        if name in _WIDE and any(_is_number(arg) and arg > MAX_OUTPUT for arg in (*args, *kwargs.values())):
            raise _too_large(name)
        if name == "replace" and isinstance(getattr(__obj, "__self__", None), str):
            _check_replace(__obj.__self__, *args[:2])
        return super().call(__context, __obj, *args, **kwargs)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _product(left: Any, right: Any) -> int:
    """The length of a repeated sequence; 0 for a product of numbers."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
            return len(one) * max(0, other)
    return 0


def _small_power(left: float, right: float) -> bool:
    return not isinstance(left, int) or not isinstance(right, int) or left.bit_length() * abs(right) < 1 << 16


def _check_format(text: str, values: Any) -> None:
    """Refuse large widths in `'%*d' % …` and `'%1000000000d' % …`."""
    given = values if isinstance(values, tuple) else (values,)
    _refuse_wide((number for pair in _PERCENT.findall(text) for number in pair), given if "*" in text else ())


def _check_str_format(text: str, values: Iterable[Any]) -> None:
    """Refuse large widths in `'{:1000000000}'.format(…)` and `'{:{}}'.format(…)`."""
    _refuse_wide(_COLON.findall(text), values if _NESTED.search(text) else ())


def _refuse_wide(digits: Iterable[str], values: Iterable[Any]) -> None:
    widths = [int(number[:12]) for number in digits if number.isdigit()]
    if any(width > MAX_OUTPUT for width in (*widths, *(value for value in values if isinstance(value, int)))):
        raise _too_large("the text")


def _check_replace(text: Any, old: Any = "", new: Any = "", *_: Any) -> None:
    text, old, new = str(text), str(old), str(new)
    if (text.count(old) if old else len(text) + 1) * len(new) > MAX_OUTPUT:
        raise _too_large("the text")


class _Ranges:
    """`range` with one limit for a whole rendering, so that nested loops end."""

    __name__ = "range"

    def __init__(self) -> None:
        self._left = MAX_RANGE

    def __call__(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._left -= len(numbers)
        if self._left < 0:
            raise SecurityError(f"range() may give at most {MAX_RANGE} numbers in one template")
        return numbers


def _filter_bounded(original: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja that refuses large numbers as arguments."""

    @functools.wraps(original)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        if any(_is_number(arg) and arg > MAX_OUTPUT for arg in (*args[1:], *kwargs.values())):
            raise _too_large("the text")
        return original(*args, **kwargs)

    return bounded


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    _check_format(str(value), args)
    return str(value) % (kwargs or args)


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    _check_replace(value, old, new)
    return str(value).replace(str(old), str(new), -1 if count is None else count)


def _quote(value: Any) -> str:
    """`value` as one word for a shell."""
    return shlex.quote(str(value))


@functools.cache
def _environment(newline: str = "\n") -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined,
        comment_start_string="\ue003{#",
        comment_end_string="#}\ue003",
        keep_trailing_newline=True,
        newline_sequence=newline,  # type: ignore[arg-type]
        autoescape=False,
        cache_size=0,
    )
    for name in ("center", "indent"):
        environment.filters[name] = _filter_bounded(environment.filters[name])
    environment.filters.update({"quote": _quote, "format": _format, "replace": _replace, _WRITTEN: _print_name})
    environment.globals.pop("lipsum", None)
    return environment


def _environment_for(source: str) -> _Environment:
    """Keeps CR LF when all lines end in it; else every line ends in LF, as in Jinja."""
    return _environment("\r\n" if "\r" in source and not _LONE.search(source) else "\n")


def _mark(tree: nodes.Template) -> nodes.Template:
    """Put marks around the template's own text, and make `{{ NAME }}` alone print the text as written."""
    for output in list(_outputs(tree)):
        output.nodes = [_marked(child) for child in output.nodes]
    return tree


def _outputs(node: nodes.Node) -> Iterator[nodes.Output]:
    """The nodes that print directly, not inside of macros and of blocks that are set, called or filtered."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Output):
            yield child
        elif not isinstance(child, nodes.Macro | nodes.CallBlock | nodes.FilterBlock | nodes.AssignBlock):
            yield from _outputs(child)


def _marked(child: Any) -> Any:
    if isinstance(child, nodes.TemplateData):
        before, behind = _marks()
        return nodes.TemplateData(before + child.data + behind, lineno=child.lineno)
    if isinstance(child, nodes.Name):
        given: list[nodes.Expr] = [nodes.Const(child.name), nodes.ContextReference()]
        return nodes.Filter(child, _WRITTEN, given, [], None, None, lineno=child.lineno)
    return child


def _print_name(value: Any, name: str, context: Context) -> Any:
    """The text as written, unless the template itself set the name."""
    texts = context.parent[_TEXTS]
    return texts[name] if name in texts and context.parent.get(name) is value else value


def _compiled(source: str) -> jinja2.Template:
    return _keep(source) if len(source) <= MAX_KEPT else _compile(source)


def _compile(source: str) -> jinja2.Template:
    environment = _environment_for(source)
    code = environment.compile(_mark(_parse(source)))
    return environment.template_class.from_code(environment, code, dict(environment.globals))


_keep = functools.lru_cache(maxsize=512)(_compile)


def _parse(source: str) -> nodes.Template:
    if len(source) > MAX_SOURCE:
        raise ValueError(f"the template is longer than {MAX_SOURCE} characters")
    if source.count("{{") + source.count("{%") > MAX_BRACES:
        raise ValueError(f"the template has more than {MAX_BRACES} braces")
    try:
        return _environment_for(source).parse(source)
    except jinja2.TemplateSyntaxError as error:
        place = f" (line {error.lineno} of the text)" if "\n" in source else ""
        raise ValueError(f"{error.message}{place}") from None
    except RecursionError:
        raise ValueError("the template is nested too deeply") from None


def check(source: str) -> None:
    """Raises ValueError when the braces of `source` cannot be parsed."""
    try:
        _compiled(source)
    except jinja2.TemplateError as error:
        raise ValueError(str(error)) from None
    except (RecursionError, SyntaxError, MemoryError, OverflowError):
        raise ValueError("the template is nested too deeply") from None


def names(source: str) -> set[str]:
    """The undefined names of `source`, without Jinja's own (`range` …).

    Raises:
        ValueError: it cannot be parsed.
    """
    return set(meta.find_undeclared_variables(_parse(source))) - set(_environment().globals)


def render(source: str, values: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """Evaluate a template once.

    Args:
        source: the text with its braces.
        values: the values of the names, looked up only when used.
        texts: what `{{ NAME }}` alone prints.

    Returns:
        The output in pieces; those of type `Piece` are the template's own text, the others are values.

    Raises:
        VerbError: a name is undefined, an expression fails, or the output is too long.
    """
    try:
        template = _compiled(source)
        given = {"range": _Ranges(), _TEXTS: texts}
        context = template.new_context(ChainMap(values, given, template.globals), shared=True)  # type: ignore[arg-type]
        return list(_pieces(_bounded(template, context)))
    except VerbError:
        raise
    except ValueError as error:
        raise VerbError(f"the template cannot be read: {error}") from None
    except RecursionError:
        raise VerbError("the template is nested too deeply") from None
    except jinja2.UndefinedError as error:
        raise VerbError(_undefined(str(error.message))) from None
    except SecurityError as error:
        raise VerbError(f"the template was stopped: {error}") from None
    except Exception as error:  # an expression may raise anything
        raise VerbError(f"the template failed: {type(error).__name__}: {error}") from None


def _undefined(message: str) -> str:
    return f"{message}; expected an ARG, an ENV, facts, node or query" if _NO_NAME.fullmatch(message) else message


def _bounded(template: jinja2.Template, context: Context) -> str:
    before, behind = _marks()
    pieces, size = [], 0
    for piece in template.root_render_func(context):
        size += len(piece) - piece.count(before) * len(before + behind)
        if size > MAX_OUTPUT:
            raise VerbError(f"the template makes more than {MAX_OUTPUT} characters")
        pieces.append(piece)
    return "".join(pieces)


def _pieces(output: str) -> Iterator[str]:
    """Split the output at the marks."""
    before, behind = _marks()
    value, *parts = output.split(before)
    if value:
        yield value
    for part in parts:
        own, _, value = part.partition(behind)
        yield Piece(own)
        if value:
            yield value
