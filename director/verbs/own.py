"""Own verbs: Python files in a folder of the server, which travel to the nodes as blobs.

A file runs with the same rights as Director, so it is used only when nobody but root and the server's own user can
write it. A step that uses an own verb names the digest of its file; a client fetches the blob when a job needs it and
keeps each version apart.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import traceback
import types
from collections.abc import Iterator, Mapping

from director.errors import VerbError
from director.verbs.base import Flag, Source, Verb

SIZE_LIMIT = 1024 * 1024  # bytes of a file
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_Mark = tuple[int, int, int, int, int]


class Broken(Verb):
    """A verb whose file cannot be used: each use is refused with the reason."""

    def __init__(self, name: str, fault: str) -> None:
        self.name = name  # type: ignore[misc]
        self.fault = f"{name} cannot be used: {fault}"

    @property
    def flag_table(self) -> Mapping[str, Flag]:  # type: ignore[override]
        """Raise ValueError, to which readers and planner add file and line."""
        raise ValueError(self.fault)


class Folder:
    """The own verbs in one folder; a file is read again when it has changed.

    Args:
        path: absolute; it need not exist.
        taken: names and aliases of built-in verbs, which no file may use.
    """

    def __init__(self, path: str, taken: Mapping[str, str]) -> None:
        self.path = path
        self._taken = taken
        self._files: dict[str, tuple[_Mark, dict[str, Verb]]] = {}

    def verbs(self) -> dict[str, Verb]:
        """The verbs by name, as the files are now; a file that cannot be used gives a `Broken` one of its name."""
        self._files = {name: self._file(name) for name in self._names()}
        return {name: verb for _, found in self._files.values() for name, verb in found.items()}

    def _names(self) -> list[str]:
        try:
            names = sorted(os.listdir(self.path))
        except OSError:
            return []
        return [name for name in names if name.endswith(".py") and name[0] not in "._"]

    def _file(self, name: str) -> tuple[_Mark, dict[str, Verb]]:
        path = os.path.join(self.path, name)
        mark = (0, 0, 0, 0, 0)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                mark = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid)
                known = self._files.get(name)
                if known is not None and known[0] == mark:
                    return known
                _check_owner(self.path, os.stat(self.path))
                _check_owner(path, status)
                data = file.read(SIZE_LIMIT + 1)
            return mark, self._read(path, data)
        except OSError as error:
            mark, fault = (0, 0, 0, 0, 0), f"{path}: {error.strerror}"
        except VerbError as error:
            fault = str(error)
        verb = name.removesuffix(".py").upper()
        return mark, {verb: Broken(verb, fault)}

    def _read(self, path: str, data: bytes) -> dict[str, Verb]:
        if len(data) > SIZE_LIMIT:
            raise VerbError(f"{path}: larger than {SIZE_LIMIT >> 20} MiB")
        source = Source(path, data, hashlib.sha256(data).hexdigest())
        found = load(data, source.digest, path)
        for verb in found.values():
            if verb.name in self._taken:
                raise VerbError(f"{path}: {verb.name} is a built-in verb; expected another name")
            verb.source = source
        return found


def load(data: bytes, digest: str, path: str) -> dict[str, Verb]:
    """The verbs by name that a file defines.

    Args:
        data: the bytes of the file.
        digest: their sha256 in hex.
        path: for messages.

    Raises:
        VerbError: `PATH:LINE: what is wrong`.
    """
    module = types.ModuleType(f"director_own_{digest[:32]}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # pickle and dataclasses look the module up
    try:
        exec(compile(data, path, "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        del sys.modules[module.__name__]
        raise VerbError(f"{place_of(error, path)}: {_said(error)}") from None
    found = {verb.name: verb for verb in _instances(module, path)}
    if not found:
        raise VerbError(f"{path} defines no verb; expected a class that derives from director.verbs.base.Verb")
    return found


def place_of(error: BaseException, path: str) -> str:
    """`PATH:LINE` of the innermost line of this file in the trace of an error; `PATH` when there is none."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}:{error.lineno or 1}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == path]
    return f"{path}:{lines[-1]}" if lines else path


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg or "not Python"
    return f"{type(error).__name__}: {error}"


def _instances(module: types.ModuleType, path: str) -> Iterator[Verb]:
    for value in list(vars(module).values()):
        if isinstance(value, type) and issubclass(value, Verb) and value.__module__ == module.__name__:
            if value.__name__.startswith("_"):
                continue
            line = value.__dict__.get("__firstlineno__", 1)
            if not isinstance(value.name, str) or not _NAME.fullmatch(value.name):
                raise VerbError(f'{path}:{line}: {value.__name__} has no valid name; expected one like name = "HELLO"')
            yield value()


def _check_owner(path: str, status: os.stat_result) -> None:
    """Raise VerbError when others can write a file or folder."""
    if status.st_uid not in (0, os.geteuid()):
        raise VerbError(f"{path} belongs to uid {status.st_uid}; expected root or the server's own user")
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid())):
        raise VerbError(f"others can write {path}; expected chmod go-w {path}")
