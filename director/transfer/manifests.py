"""Checks manifests: whoever sent one, no row is used before the one who writes has checked it.

A row is `[kind, path, mode, size, digest, target, name]`, as in the sources of a COPY: `path` is below the destination,
"" for a file that was named itself. In lists of the operator's machine a row `pack` names a blob in which the small
files of the rows behind it are packed; these have an eighth field, where they begin there. A file with holes has a list
as its eighth field, offset and length of each part that has data; its blob has these parts only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from director.errors import VerbError
from director.transfer.blobs import is_digest

ROWS_LIMIT, OWN_ROWS_LIMIT = 100_000, 1_000_000
BYTES_LIMIT, OWN_BYTES_LIMIT = 64 << 20, 256 << 20  # of a list as JSON
PATH_LIMIT = 4095  # characters
DEPTH_LIMIT = 256  # names in a path of another machine; its folders are at most as many as its rows
SIZE_LIMIT = 1 << 42  # bytes
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_KINDS = frozenset(("file", "dir", "link"))
_OWN_KINDS = _KINDS | {"tar", "pack"}

Row = list[Any]


def check(rows: Any, own: bool = False) -> list[Row]:
    """The rows, if all are valid; modes are cut to permission bits. It is called by the one who writes.

    Args:
        own: they are of the operator's machine: setuid bits are kept, a file may be replaced by a later one.

    Raises:
        VerbError: a path leaves its folder or is below a file or link, a type is wrong, there are too many rows, two
            rows have one path.
    """
    limit = OWN_ROWS_LIMIT if own else ROWS_LIMIT
    if not isinstance(rows, list) or len(rows) > limit:
        raise VerbError(f"a manifest is no list of at most {limit} rows")
    pack = 0  # bytes of the last one
    for row in rows:
        _check_row(row, own)
        pack = row[3] if row[0] == "pack" else pack
        if len(row) > 7 and not (row[0] == "file" and (_is_offset(row, pack) or _has_extents(row))):
            raise VerbError("a row of a manifest has a wrong shape")
    _check_places([(_place(row), row[0]) for row in rows if row[0] != "pack"], again=own)
    if not own and _folders([row[1] for row in rows]) > limit:
        raise VerbError(f"a manifest has more than {limit} folders")
    return rows


def _check_row(row: Any, own: bool) -> None:
    if not isinstance(row, list) or not 7 <= len(row) <= 7 + own:
        raise VerbError("a row of a manifest has a wrong shape")
    kind, path, mode, size, digest, target, name = row[:7]
    well = (
        isinstance(kind, str) and kind in (_OWN_KINDS if own else _KINDS)
        and isinstance(mode, int) and isinstance(size, int) and 0 <= size <= SIZE_LIMIT
        and isinstance(target, str) and len(target) <= PATH_LIMIT and "\0" not in target
        and (is_digest(digest) if kind in ("file", "tar", "pack") else digest == "")
        and (own or kind == "dir" or bool(path or name))
    )  # fmt: skip
    if not well:
        raise VerbError("a row of a manifest has a wrong shape")
    if isinstance(path, str) and not own and path.count("/") >= DEPTH_LIMIT:
        raise VerbError(f"a path has more than {DEPTH_LIMIT} names: {path!a:.200}")
    if not (isinstance(path, str) and (not path or _stays(path))):
        raise VerbError(f"a path leaves its folder: {path!a:.200}")
    if not (isinstance(name, str) and (not name or ("/" not in name and _stays(name)))):
        raise VerbError(f"a name is not valid: {name!a:.200}")
    row[2] = mode & (0o7777 if own else 0o777)


def _is_offset(row: Row, pack: int) -> bool:
    """Whether the last field says where the file begins in a pack of this size."""
    return isinstance(row[7], int) and 0 <= row[7] <= pack - row[3]


def _has_extents(row: Row) -> bool:
    """Whether the last field lists parts of the file, one behind the other."""
    end = 0
    for extent in row[7] if isinstance(row[7], list) else [None]:
        if not (isinstance(extent, list) and len(extent) == 2 and all(isinstance(part, int) for part in extent)):
            return False
        if extent[0] < end or extent[1] <= 0:
            return False
        end = sum(extent)
    return end <= int(row[3])


def _place(row: Row) -> str:
    """Where it is below the destination; "" for the destination itself and for an archive, which is unpacked there."""
    path: str = row[1] or ("" if row[0] in ("dir", "tar") else row[6])
    return path


def _check_places(places: Sequence[tuple[str, str]], again: bool) -> None:
    """Raise VerbError where a path has two rows that are no folders, unless `again`, or one is below no folder."""
    kinds: dict[str, str] = {}
    for place, kind in places:
        before = kinds.get(place, "")
        if place and before and not again and (before, kind) != ("dir", "dir"):
            raise VerbError(f"two sources give {place!a:.200}; copy them into folders of their own")
        if before in ("", "dir"):
            kinds[place] = kind
    above = ""
    for place in sorted(kinds, key=_with_what_is_below):  # no set of folders: a path has up to 2,048
        if above and place.startswith(f"{above}/"):
            raise VerbError(f"{place!a:.200} is below {above!a:.200}, which is no folder")
        if kinds[place] != "dir":
            above = place


def _folders(paths: Iterable[str]) -> int:
    """How many folders would be made for these paths."""
    count, before = 0, [""]
    for folder in sorted({path.rpartition("/")[0] for path in paths} - {""}, key=_with_what_is_below):
        names = folder.split("/")
        same = next((at for at, pair in enumerate(zip(names, before, strict=False)) if pair[0] != pair[1]), None)
        count += len(names) - (min(len(names), len(before)) if same is None else same)
        before = names
    return count


def _with_what_is_below(place: str) -> str:
    """A key that sorts a path right before all that is below it; no path has a NUL."""
    return place.replace("/", "\0")


def _stays(path: str) -> bool:
    """Whether a relative path has no part that leaves the folder it starts from."""
    return len(path) <= PATH_LIMIT and "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def printable(path: str) -> str:
    """A path with control characters written like `%0A`, so that it is one line."""
    return _CONTROL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), path)


def placed(rows: Iterable[Row]) -> list[tuple[str, Row]]:
    """The printable path of each row below the destination, with the row; without the destination itself.

    Raises:
        VerbError: two rows have one path, or one is below the file of another.
    """
    found = [(printable(place), row) for row in rows if (place := _place(row))]
    _check_places([(place, row[0]) for place, row in found], again=False)
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
    """Digest to size in bytes of every blob that the rows need."""
    blobs = [row for row in rows if row[0] in ("file", "pack") and (len(row) == 7 or isinstance(row[7], list))]
    return {row[4]: data_size(row) for row in blobs}


def data_size(row: Row) -> int:
    """Bytes of the blob of a row, which has only the data of a file with holes."""
    return int(row[3]) if len(row) == 7 else sum(length for _, length in row[7])
