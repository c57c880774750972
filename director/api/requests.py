"""What every command gets: its caller, and a typed request, made of the fields of a message."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

from director.api.permissions import NOTHING, Rights
from director.errors import UsageError
from director.server.audit import Entry
from director.server.planner_pool import NO_SOURCES, Sources

T = TypeVar("T")
NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


NOT_AUDITED: Any = None


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a command.

    Attributes:
        user: name of the user, the uid as text when it has none.
        uid, gid, pid: of the calling process.
        groups: the names of its groups, the number as text where one has no name.
        rights: what it may reach with the command that it runs now.
        entry: what the audit log says of that, when the command is audited.
        check: raises NotPermittedError when these rights were changed since the command began.
        login_uid: of the login session that the process belongs to, whichever user it is now; None when not known.
        sources: reads the files that the caller's submissions name.
    """

    user: str
    uid: int
    gid: int
    pid: int
    sources: Sources = NO_SOURCES
    groups: frozenset[str] = frozenset()
    rights: Rights = NOTHING
    login_uid: int | None = None
    entry: Entry = NOT_AUDITED
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Nothing:
    """The request of a command that has no fields."""


def decode(kind: type[T], values: Mapping[str, Any], name: str = "") -> T:
    """An object of a dataclass or a TypedDict.

    Their fields may be str, int, float, bool, `X | None`, `tuple[X, ...]`, `list[X]`, `dict[str, X]`, a dataclass or
    a TypedDict.

    Args:
        name: of the object, which goes before the names of its fields in an error.

    Raises:
        UsageError: a field is missing, unknown or of another type; the message names it.
    """
    hints, required = _fields(kind)  # type: ignore[arg-type]  # mypy: a class is hashable
    if unknown := values.keys() - hints.keys():
        raise UsageError(f"{_below(name, min(unknown))} is not a known field; expected some of {', '.join(hints)}")
    if missing := required - values.keys():
        raise UsageError(f"{_below(name, min(missing))} is missing")
    return kind(**{field: _convert(value, hints[field], _below(name, field)) for field, value in values.items()})


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of the fields by name, and the names of those that must be there."""
    hints = get_type_hints(kind)
    if is_typeddict(kind):
        return hints, kind.__required_keys__
    required = (one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    return hints, frozenset(required)


def _convert(value: Any, kind: Any, name: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _convert(value, args[0], name)
    if origin in (tuple, list):
        rows = _expect(value, list, "a list", name)
        return origin(_convert(row, args[0], f"{name}[{index}]") for index, row in enumerate(rows))
    if origin is dict:
        pairs = _expect(value, dict, "an object", name).items()
        return {key: _convert(item, args[1], _below(name, key)) for key, item in pairs}
    if is_dataclass(kind) or is_typeddict(kind):
        return decode(kind, _expect(value, dict, "an object", name), name)
    if kind is float and type(value) is int:
        return float(value)
    return _expect(value, kind, NAMES[kind], name)


def _expect(value: Any, kind: type, what: str, name: str) -> Any:
    if type(value) is not kind:
        raise UsageError(f"{name}: expected {what}, not {repr(value)[:80]}")
    return value


def _below(name: str, field: str) -> str:
    return f"{name}.{field}" if name else field
