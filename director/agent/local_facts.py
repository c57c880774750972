"""Facts of the operator's own: `/etc/director/facts.d/NAME.json` is `local.NAME`.

A file counts when nobody but root and the client's user can have written it. What is left out is logged once.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
from typing import Any

log = logging.getLogger(__name__)

FOLDER = "etc/director/facts.d"
FILES, BYTES = 64, 64 * 1024  # that are read; the bytes of all files together
DEPTH = 32  # of lists and mappings within each other
_NAME = re.compile(r"([A-Za-z0-9_-]{1,100})\.json")
_logged: set[str] = set()
_LINES = 1000  # that are remembered as logged


def read(root: str = "/") -> dict[str, Any]:
    """The content of each file by its name without the ending.

    Args:
        root: the folder that holds `etc`.
    """
    path = os.path.join(root, FOLDER)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        _leave_out(path, _reason(error))
        return {}
    try:
        if why := _fault(os.fstat(folder)):
            _leave_out(path, why)
            return {}
        return _read_files(folder, path)
    finally:
        os.close(folder)


def _read_files(folder: int, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    room = BYTES
    for name in sorted(entry for entry in os.listdir(folder) if entry.endswith(".json")):
        try:
            named = _NAME.fullmatch(name)
            if named is None:
                raise ValueError("expected letters, digits, _ and - before .json in its name")
            if len(found) == FILES:
                raise ValueError(f"there are more than {FILES} files")
            data = _content(folder, name, room)
            found[named[1]] = _value(data)
            room -= len(data)
        except OSError as error:
            _leave_out(os.path.join(path, name), _reason(error))
        except (ValueError, RecursionError) as error:
            _leave_out(os.path.join(path, name), str(error))
    return found


def _content(folder: int, name: str, room: int) -> bytes:
    """The bytes of a file. Raises OSError, and ValueError: it does not count, or is too long."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no file")
        if why := _fault(status):
            raise ValueError(why)
        data = file.read(room + 1)
    if len(data) > room:
        raise ValueError(f"the files have more than {BYTES >> 10} KiB together")
    return data


def _value(data: bytes) -> Any:
    """What is in a file. Raises ValueError or RecursionError: no message can have it."""
    value = json.loads(data.decode(), parse_constant=_no_number)
    if _is_deep(value, DEPTH):
        raise ValueError(f"it is nested more than {DEPTH} deep")
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _is_deep(value: Any, left: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left < 0 or any(_is_deep(part, left - 1) for part in parts)


def _fault(status: os.stat_result) -> str:
    """Why others may have written it; "" when they cannot."""
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {status.st_uid}; expected root or the client's user"
    return "others may write to it; expected a mode like 0644" if status.st_mode & 0o022 else ""


def _reason(error: OSError) -> str:
    return "it is a link" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror or str(error)


def _leave_out(path: str, why: str) -> None:
    line = f"{path} is left out of the facts: {why}"
    if line not in _logged and len(_logged) < _LINES:
        _logged.add(line)
        log.warning("%s", line)
