"""Answers for programs: JSON, YAML and CSV, written row by row; a format's library is imported when it is used."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from director.report.columns import Column

# these occur in JSON only inside strings, where they may be escaped
_RISKY = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def to_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON in readable UTF-8; control characters are escaped, lone surrogates become U+FFFD."""
    import json

    return _RISKY.sub(_escaped, json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def json_list(rows: Iterable[Any]) -> Iterator[str]:
    """One JSON list, a row a line."""
    before = "[\n"
    for row in rows:
        yield before + to_json(row)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def json_lines(rows: Iterable[Any]) -> Iterator[str]:
    """One JSON document a line."""
    for row in rows:
        yield to_json(row) + "\n"


def json_object(value: Any) -> Iterator[str]:
    """One document, indented."""
    yield to_json(value, 2) + "\n"


def _without_surrogates(value: Any) -> Any:
    """`value` without lone surrogates, which UTF-8 cannot encode."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(part) for key, part in value.items()}
    return [_without_surrogates(part) for part in value] if isinstance(value, (list, tuple)) else value


def yaml_list(rows: Iterable[Any]) -> Iterator[str]:
    """One YAML list."""
    from director.runtime.yaml_text import dump

    empty = True
    for row in rows:
        empty = False
        yield dump([_without_surrogates(row)])
    if empty:
        yield "[]\n"


def yaml_object(value: Any) -> Iterator[str]:
    """One YAML document."""
    from director.runtime.yaml_text import dump

    yield dump(_without_surrogates(value))


def rows_as(format: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], header: bool) -> Iterator[str]:
    """Rows as `json`, `jsonl`, `yaml` or `csv`; `columns` and `header` matter for CSV only."""
    if format == "csv":
        return csv_rows(rows, columns, header)
    return {"json": json_list, "jsonl": json_lines, "yaml": yaml_list}[format](rows)


def object_as(format: str, value: Any) -> Iterator[str]:
    """One value as `json` or `yaml`."""
    return json_object(value) if format == "json" else yaml_object(value)


class _Line:
    """A file of one line, which the csv module writes to."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text = text
        return len(text)


def csv_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], header: bool) -> Iterator[str]:
    """RFC 4180: lines end in CR LF; lists and mappings are JSON, None is empty."""
    import csv

    line = _Line()
    fields = [column for column in columns if column.key]
    writer = csv.writer(line)
    if header:
        writer.writerow([column.key.replace(".", "_") for column in fields])
        yield line.text
    for row in rows:
        writer.writerow([_csv_value(column.value(row)) for column in fields])
        yield line.text


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return to_json(value)
    if not isinstance(value, str):
        return value
    return _SURROGATE.sub("\ufffd", value).replace("\0", "\ufffd")  # many readers of CSV take no NUL
