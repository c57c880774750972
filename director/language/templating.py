"""Renders templates in a sandboxed, strict environment; no other module imports jinja2.

A template's own text and the values that it prints are separate pieces of the output, so that `$X` is replaced only
in the text.
"""

from __future__ import annotations

import functools
import re
import secrets as random_bytes
import shlex
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.visitor import NodeTransformer

from director.errors import VerbError
from director.language import limits, origin, quoting
from director.language.limits import MAX_OUTPUT

MAX_RANGE = 100_000  # numbers of all range() calls of one rendering together
MAX_SOURCE = 4 << 20  # characters of one template
MAX_BRACES = 20_000
_LONE = re.compile(r"\r(?!\n)|(?<!\r)\n")
_NO_NAME = re.compile(r"'[^']+' is undefined")
MAX_KEPT = 16 << 10  # characters; longer templates are not cached
_WIDE = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs"))
_WRITTEN = "\ue004written"  # names that no template can use
_TEXTS = "\ue004texts"
_CHECKED = "\ue004checked"


@functools.cache
def _marks() -> tuple[str, str]:
    """What is put around a template's own text in the output; random, so that no value has it."""
    mark = random_bytes.token_hex(8)
    return f"\ue000{mark}(", f"){mark}\ue001"


class Piece(str):
    """A part of the output that is the template's own text."""

    __slots__ = ()


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
        limits.check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` that refuses large widths."""
        inner = super().wrap_str_format(value)
        if inner is None:
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            limits.check_str_format(str(value.__self__), (*args, *kwargs.values()))
            return inner(*args, **kwargs)

        return bounded

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuse large widths and long replacements."""
        name = getattr(__obj, "__name__", "")
        if name in _WIDE:
            limits.check_numbers((*args, *kwargs.values()), name)
        if name == "replace" and isinstance(getattr(__obj, "__self__", None), str):
            limits.check_replace(__obj.__self__, *args[:2])
        return super().call(__context, __obj, *args, **kwargs)


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
        limits.check_numbers((*args[1:], *kwargs.values()), "the text")
        return original(*args, **kwargs)

    return bounded


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    limits.check_format(str(value), args)
    return str(value) % (kwargs or args)


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    limits.check_replace(value, old, new)
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
    environment.filters.update({"quote": _quote, "format": _format, "replace": _replace, origin.CODE: str})
    environment.filters.update({_WRITTEN: _print_name, _CHECKED: _print_checked})
    environment.globals.pop("lipsum", None)
    return environment


def _environment_for(source: str) -> _Environment:
    """Keeps CR LF when all lines end in it; else every line ends in LF, as in Jinja."""
    return _environment("\r\n" if "\r" in source and not _LONE.search(source) else "\n")


class _Printer(NodeTransformer):
    """Puts marks around the template's own text, and makes `{{ NAME }}` alone print the text as written.

    Only what prints directly is changed, not what is inside of macros and of blocks that are set, called or filtered.

    Args:
        relayed: the names with relayed values; what is made of them is printed if no shell acts on it.
    """

    def __init__(self, relayed: frozenset[str]) -> None:
        self._relayed = relayed

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        node.nodes = [self._checked(child, _marked(child)) for child in node.nodes]
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Node:
        node.filter = self._checked(node, node.filter)  # type: ignore[assignment]
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        check = self._checked(node, None)
        return node if check is None else nodes.FilterBlock([node], check, lineno=node.lineno)

    def visit_Macro(self, node: nodes.Node) -> nodes.Node:
        return node

    visit_AssignBlock = visit_Macro

    def _checked(self, printed: nodes.Node, expression: Any) -> Any:
        used = origin.relayed_in(printed, self._relayed) if self._relayed else ""
        given: list[nodes.Expr] = [nodes.Const(used)]
        return nodes.Filter(expression, _CHECKED, given, [], None, None, lineno=printed.lineno) if used else expression


def _marked(child: Any) -> Any:
    if isinstance(child, nodes.TemplateData):
        before, behind = _marks()
        return nodes.TemplateData(before + child.data + behind, lineno=child.lineno)
    if isinstance(child, nodes.Name):
        given: list[nodes.Expr] = [nodes.Const(child.name), nodes.ContextReference()]
        return nodes.Filter(child, _WRITTEN, given, [], None, None, lineno=child.lineno)
    return child


def _print_checked(value: Any, names: str) -> str:
    """The text of a relayed value. Raises VerbError when a shell would act on it."""
    text = str(value)
    if fault := origin.fault(text, names):
        raise VerbError(fault)
    return text


def _print_name(value: Any, name: str, context: Context) -> Any:
    """The text as written, unless the template itself set the name."""
    texts = context.parent[_TEXTS]
    return texts[name] if name in texts and context.parent.get(name) is value else value


def _compiled(source: str, relayed: frozenset[str] = frozenset()) -> jinja2.Template:
    return _keep(source, relayed) if len(source) <= MAX_KEPT else _compile(source, relayed)


def _compile(source: str, relayed: frozenset[str]) -> jinja2.Template:
    environment, tree = _environment_for(source), _parse(source)
    names = origin.relayed_names(tree, relayed)
    if names:
        _refuse_escapes(tree)
    code = environment.compile(_Printer(names).visit(tree))
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


def _refuse_escapes(tree: nodes.Template) -> None:
    """In a shell's text escapes for HTML would undo `quote`. Raises ValueError."""
    if tree.find(nodes.EvalContextModifier):
        raise ValueError("{% autoescape %} has no place in a shell's text")


def check(source: str) -> None:
    """Raises ValueError when the braces of `source` cannot be parsed."""
    try:
        _compiled(source)
    except jinja2.TemplateError as error:
        raise ValueError(str(error)) from None
    except (RecursionError, SyntaxError, MemoryError, OverflowError):
        raise ValueError("the template is nested too deeply") from None


def check_shell(source: str) -> None:
    """Raises ValueError when `quote` does not protect where it stands in this shell's text."""
    tree = _parse(source)
    _refuse_escapes(tree)
    quoting.check_quotes(tree)


def secrets_in(source: str) -> set[str]:
    """The names of the secrets that `source` uses. Raises ValueError when it cannot be parsed, or computes a name."""
    tree = _parse(source)
    named = [node for node in tree.find_all(nodes.Name) if node.name == origin.SECRET]
    found: dict[int, str] = {}
    for call in tree.find_all(nodes.Call):
        given = [arg.value for arg in call.args if isinstance(arg, nodes.Const) and isinstance(arg.value, str)]
        if call.node in named and len(given) == 1 and not (call.args[1:] or call.kwargs or call.dyn_args):
            found[id(call.node)] = given[0]
    if any(id(node) not in found for node in named):
        raise ValueError("a secret is named by a text in quotes, so that it is known when planning: secret('NAME')")
    return set(found.values())


def filters(source: str) -> set[str]:
    """The names of the filters that `source` uses. Raises ValueError when it cannot be parsed."""
    return {node.name for node in _parse(source).find_all(nodes.Filter)}


def names(source: str) -> frozenset[str]:
    """The undefined names of `source`, without Jinja's own (`range` …).

    Raises:
        ValueError: it cannot be parsed.
    """
    return _keep_names(source) if len(source) <= MAX_KEPT else _names(source)


def _names(source: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(_parse(source))) - _environment().globals.keys()


_keep_names = functools.lru_cache(maxsize=512)(_names)  # one text is planned for each node


def render(
    source: str, values: Mapping[str, Any], texts: Mapping[str, str], relayed: frozenset[str] = frozenset()
) -> list[str]:
    """Evaluate a template once.

    Args:
        source: the text with its braces.
        values: the values of the names, looked up only when used.
        texts: what `{{ NAME }}` alone prints.
        relayed: for a shell's text, the names with relayed values: what is printed of them must be plain or quoted.

    Returns:
        The output in pieces; those of type `Piece` are the template's own text, the others are values.

    Raises:
        VerbError: a name is undefined, an expression fails, the output is too long, or a shell would act on what other
            nodes said.
    """
    try:
        template = _compiled(source, relayed)
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
