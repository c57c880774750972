"""Checks manifests that come from a node: a node may send anything, so no row is used before it is checked.

A row is `[kind, path, mode, size, digest, target, name]`, as in the sources of a COPY: `path` is below the destination,
"" for a file that was named itself.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Any

from director.errors import VerbError
from director.transfer.blobs import is_digest

ROWS_LIMIT = 100_000
PATH_LIMIT = 4095  # characters
SIZE_LIMIT = 1 << 42  # bytes
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Row = list[Any]


def check(rows: Any) -> list[Row]:
    """The rows, if all are valid; modes are cut to permission bits.

    Raises:
        VerbError: a path leaves its folder or is below a file or link, a type is wrong, there are too many rows.
    """
    if not isinstance(rows, list) or len(rows) > ROWS_LIMIT:
        raise VerbError(f"a manifest is no list of at most {ROWS_LIMIT} rows")
    for row in rows:
        _check_row(row)
    kinds = {row[1]: row[0] for row in rows if row[1]}
    for row in rows:
        above = posixpath.dirname(row[1])
        while above:
            if kinds.get(above, "dir") != "dir":
                raise VerbError(f"{row[1]!a:.200} is below something that is no folder")
            above = posixpath.dirname(above)
    return rows


def _check_row(row: Any) -> None:
    if not isinstance(row, list) or len(row) != 7:
        raise VerbError("a row of a manifest has a wrong shape")
    kind, path, mode, size, digest, target, name = row
    well = (
        kind in ("file", "dir", "link") and isinstance(mode, int) and isinstance(size, int)
        and 0 <= size <= SIZE_LIMIT and isinstance(target, str) and len(target) <= PATH_LIMIT and "\0" not in target
        and (is_digest(digest) if kind == "file" else digest == "") and (kind == "dir" or bool(path or name))
    )  # fmt: skip
    if not well:
        raise VerbError("a row of a manifest has a wrong shape")
    if not (isinstance(path, str) and (not path or _stays(path))):
        raise VerbError(f"a path leaves its folder: {path!a:.200}")
    if not (isinstance(name, str) and (not name or ("/" not in name and _stays(name)))):
        raise VerbError(f"a name is not valid: {name!a:.200}")
    row[2] = mode & 0o777


def _stays(path: str) -> bool:
    """Whether a relative path has no part that leaves the folder it starts from."""
    return len(path) <= PATH_LIMIT and "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def printable(path: str) -> str:
    """A path with control characters written like `%0A`, so that it is one line."""
    return _CONTROL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), path)


def placed(rows: Iterable[Row]) -> list[tuple[str, Row]]:
    """The path of each row below the destination, with the row.

    Raises:
        VerbError: two rows have one path, or one is below the file of another.
    """
    kinds: dict[str, str] = {}
    found = []
    for row in rows:
        place = printable(row[1] or ("" if row[0] == "dir" else row[6]))
        if not place:
            continue  # the destination itself
        if kinds.get(place, row[0]) != row[0] or (place in kinds and row[0] != "dir"):
            raise VerbError(f"two sources give {place!a:.200}; fetch them into folders of their own")
        kinds[place] = row[0]
        found.append((place, row))
    for place, _ in found:
        above = posixpath.dirname(place)
        while above:
            if kinds.get(above, "dir") != "dir":
                raise VerbError(f"two sources give {above!a:.200}; fetch them into folders of their own")
            above = posixpath.dirname(above)
    return found


def leads_out(place: str, target: str) -> bool:
    """Whether a link at `place` may lead out of the destination.

    A `..` is only allowed in front, where it names a real folder: behind a name, which may be a link, it may lead
    anywhere.
    """
    if target.startswith("/") or not target or _CONTROL.search(target):
        return True
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return ".." in parts[ups:] or ups > place.count("/")


def contents(rows: Sequence[Row]) -> dict[str, int]:
    """Digest to size in bytes of every file among the rows."""
    return {row[4]: row[3] for row in rows if row[0] == "file"}
