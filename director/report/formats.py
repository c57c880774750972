"""Answers for programs: JSON, YAML and CSV, written row by row; a format's library is imported when it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from director import Any
from director.report.text import safe

# these occur in JSON only inside strings, where they may be escaped
_RISKY = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = tuple("=+-@\t\r")  # a spreadsheet computes a cell that begins with one of these
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def to_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON in readable UTF-8; control characters are escaped, lone surrogates become U+FFFD."""
    return _RISKY.sub(_escaped, json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def _yaml(value: Any) -> str:
    from director.runtime.yaml_text import dump

    return dump(json.loads(to_json(value)))  # without lone surrogates, which UTF-8 cannot encode


def json_list(rows: Iterable[Any]) -> Iterator[str]:
    """One JSON list, a row a line."""
    before = "[\n"
    for row in rows:
        yield before + to_json(row)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def yaml_list(rows: Iterable[Any]) -> Iterator[str]:
    """One YAML list."""
    empty = True
    for row in rows:
        empty = False
        yield _yaml([row])
    if empty:
        yield "[]\n"


def rows_as(format: str, rows: Iterable[Mapping[str, Any]], fields: Sequence[str], header: bool) -> Iterator[str]:
    """Rows as `json`, `jsonl`, `yaml` or `csv`; `fields` and `header` matter for CSV only."""
    if format == "csv":
        return _csv(rows, fields, header)
    if format == "jsonl":
        return (to_json(row) + "\n" for row in rows)
    return json_list(rows) if format == "json" else yaml_list(rows)


def values_as(
    format: str, values: Sequence[Any], rows: Iterable[Mapping[str, Any]], fields: Sequence[str], header: bool
) -> Iterator[str]:
    """JSON and YAML of the values, exactly one as an object, else as a list; JSON lines and CSV of the `rows`."""
    if format in ("jsonl", "csv"):
        return rows_as(format, rows, fields, header)
    value = values[0] if len(values) == 1 else list(values)
    return iter((to_json(value, 2) + "\n" if format == "json" else _yaml(value),))


class _Echo:
    """A file for the csv module: what it writes is the value of `writerow`."""

    write = staticmethod(str)


def _csv(rows: Iterable[Mapping[str, Any]], fields: Sequence[str], header: bool) -> Iterator[str]:
    """RFC 4180: lines end in CR LF; lists and mappings are JSON, None is empty.

    A text that a spreadsheet would take for a formula has a `'` in front; control characters are escaped as in tables.
    """
    import csv

    writer: Any = csv.writer(_Echo())
    if header:
        yield writer.writerow([field.replace(".", "_") for field in fields])
    for row in rows:
        yield writer.writerow([_csv_value(row, field) for field in fields])


def _csv_value(row: Any, field: str) -> Any:
    value = row
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return to_json(value)
    if not isinstance(value, str):
        return value
    before = "'" if value.startswith(_FORMULA) and not _NUMBER.fullmatch(value) else ""
    return before + safe(value)
