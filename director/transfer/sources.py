"""Finds and opens the sources of a step on the submitter's machine, with the caller's own rights.

A source is a file, a folder or a glob. A folder gives its contents, in which symbolic links stay links; a glob gives
the files that match. Bytes of paths that are not UTF-8 are surrogates.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from director import Any
from director.errors import UsageError
from director.globs import GlobError, has_magic, translate

SMALL = 32 * 1024  # bytes of a file that is sent with its entry
IGNORE_FILES = (".directorignore", ".containerignore", ".dockerignore")


class Found:
    """One file, folder or link of a source.

    Attributes:
        path, kind, mode, size, target, name: as in `director.verbs.base.Entry`.
        real: its path on this machine.
        inside: it was found in a folder or by a glob, so a link in its place is not followed.
        changed: when it was last written to, in nanoseconds.
    """

    __slots__ = ("changed", "inside", "kind", "mode", "name", "path", "real", "size", "target")

    def __init__(self, path: str, kind: str, real: str, status: os.stat_result, inside: bool, name: str) -> None:
        self.path, self.kind, self.real, self.inside, self.name = path, kind, real, inside, name
        self.mode = stat.S_IMODE(status.st_mode)
        self.size = status.st_size if kind == "file" else 0
        self.target = os.readlink(real) if kind == "link" else ""
        self.changed = status.st_mtime_ns

    def entry(self, packed: bool = False) -> dict[str, Any]:
        """The fields that are sent to the server; `packed`: the bytes go with them."""
        fields = {name: getattr(self, name) for name in ("path", "kind", "mode", "size", "target", "name")}
        return {**fields, "packed": True} if packed else fields

    def read_small(self) -> bytes | None:
        """All of a small file in a folder; None for an empty one, a larger one and one that was named itself.

        Raises:
            UsageError: it cannot be read, or was written to meanwhile.
        """
        if not (self.path and 0 < self.size <= SMALL):
            return None
        fd = self.open()
        try:
            data = os.read(fd, SMALL + 1)
            if len(data) == self.size and os.fstat(fd).st_mtime_ns == self.changed:
                return data
        except OSError as error:
            raise UsageError(f"cannot read {self.real}: {error.strerror}") from error
        finally:
            os.close(fd)
        raise UsageError(f"{self.real} was written to while it was read; try again when it is at rest")

    def open(self) -> int:
        """A descriptor for reading the file; sets mode and size to those of the open file.

        Raises:
            UsageError: it cannot be read, or is no plain file any more.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if self.inside else 0)
        try:
            fd = os.open(self.real, flags)
        except OSError as error:
            raise UsageError(f"cannot read {self.real}: {error.strerror}") from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise UsageError(f"{self.real} is no plain file; expected a file, a folder or a link")
        self.mode, self.size, self.changed = stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns
        return fd


def expand(want: Mapping[str, Any]) -> Iterator[Found]:
    """The files, folders and links of a want (`base`, `pattern`, `exclude`, `hidden`, `parents`), ordered by name.

    With `ignore` False the ignore files of folders have no effect.

    Raises:
        UsageError: nothing matches, or something cannot be read or is neither file, folder nor link.
    """
    base, pattern = str(want["base"]), str(want["pattern"])
    exclude = Patterns(want.get("exclude") or ())
    for real, by_glob in _matches(base, pattern, bool(want.get("hidden", True))):
        status = _status(real, pattern)
        prefix = _kept_parents(base, pattern, real) if want.get("parents") else ""
        if stat.S_ISDIR(status.st_mode):
            rules = [exclude, *(_ignored(base, real) if want.get("ignore", True) else ())]
            yield from _folder(real, status, rules, prefix)
        elif not exclude.match(_name(real)):
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{real} is no plain file; expected a file, a folder or a link")
            yield Found(prefix, "file", real, status, by_glob and not os.path.islink(real), _name(real))


def _matches(base: str, pattern: str, hidden: bool) -> Iterator[tuple[str, bool]]:
    """Paths that match, and whether by a glob; an existing path is no glob, whatever characters it has."""
    literal = os.path.join(base, pattern)
    if not has_magic(pattern) or os.path.lexists(literal):
        yield literal, False
        return
    count = 0
    for real in _glob(base, pattern, hidden):
        if not os.path.isdir(real):
            count += 1
            yield real, True
    if not count:
        raise UsageError(f"no file matches {pattern} in {base}")


def _glob(base: str, pattern: str, hidden: bool) -> Iterator[str]:
    """Paths that match a glob, ordered by name; `**` is any number of folders."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    yield from _glob_parts("/" if pattern.startswith("/") else base, parts, hidden)


def _glob_parts(folder: str, parts: Sequence[str], hidden: bool) -> Iterator[str]:
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _glob_parts(folder, rest or ["*"], hidden)
        for name in _globbed(folder):
            path = os.path.join(folder, name)
            if (hidden or not name.startswith(".")) and os.path.isdir(path) and not os.path.islink(path):
                yield from _glob_parts(path, parts, hidden)
    elif not has_magic(first):
        path = os.path.join(folder, first)
        if os.path.lexists(path):
            yield from _glob_parts(path, rest, hidden)
    else:
        match = _matcher(first)
        for name in _globbed(folder):
            if match(name) and (hidden or not name.startswith(".")):
                yield from _glob_parts(os.path.join(folder, name), rest, hidden)


def _globbed(folder: str) -> list[str]:
    """The names in a folder, none when `folder` is no folder."""
    return _names(folder) if os.path.isdir(folder) else []


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror}") from error


def _status(real: str, pattern: str) -> os.stat_result:
    try:
        return os.stat(real)
    except FileNotFoundError as error:
        what = "a link to nothing" if os.path.islink(real) else "no such file or folder"
        raise UsageError(f"{pattern}: {what} ({real})") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{pattern}: {getattr(error, 'strerror', None) or error} ({real})") from error


def _name(real: str) -> str:
    return os.path.basename(os.path.normpath(real))


def _kept_parents(base: str, pattern: str, real: str) -> str:
    """The path that `--parents` keeps: the part behind `/./`, else the path below the base."""
    pivot = pattern.find("/./")
    if pivot >= 0:
        return os.path.relpath(real, os.path.join(base, pattern[:pivot]))
    parts = [part for part in os.path.normpath(os.path.relpath(real, base)).split("/") if part != ".."]
    return os.path.normpath(real).lstrip("/") if pattern.startswith("/") else "/".join(parts)


def _folder(root: str, status: os.stat_result, rules: Sequence[Patterns], prefix: str) -> Iterator[Found]:
    """An entry for the folder, then its contents; `prefix` is put before each path."""
    prefix = "" if prefix == "." else prefix
    yield Found(prefix, "dir", root, status, True, _name(root))
    stack = [("", root)]
    while stack:
        below, folder = stack.pop()
        deeper = []
        for name in _names(folder):
            path, real = below + name, os.path.join(folder, name)
            against = [rule for rule in rules if rule.match(path)]
            found = _inside(f"{prefix}/{path}" if prefix else path, real, bool(against))
            if found.kind == "dir" and all(rule.takes_back for rule in against):
                deeper.append((path + "/", real))
            if not against:
                yield found
        stack += reversed(deeper)


def _inside(path: str, real: str, left_out: bool) -> Found:
    try:
        status = os.lstat(real)
    except OSError as error:
        raise UsageError(f"{real}: {error.strerror}") from error
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "")
    if not kind and not left_out:
        raise UsageError(f"{real} is no plain file; leave it out with --exclude or an ignore file")
    return Found(path, kind, real, status, True, _name(real))


class Patterns:
    """Patterns as in a .dockerignore: relative to a root, with `**`; `!` makes an exception; the last match counts.

    Attributes:
        takes_back: there are exceptions, so a path may be kept although a folder above it is left out.
    """

    def __init__(self, lines: Sequence[str], root: str = "") -> None:
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]
        self._root = root and root + "/"
        self.takes_back = any(keeps for keeps, _ in self._rules)

    def match(self, path: str) -> bool:
        """Whether a path or a folder above it is left out."""
        if not self._rules:
            return False
        parts = (self._root + path).split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        left_out = False
        for keeps, matches in self._rules:
            if left_out == keeps and any(matches(text) for text in above):
                left_out = not keeps
        return left_out


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str], object]:
    """A function that tells whether a path matches a glob. Raises UsageError for a glob that cannot be read."""
    try:
        return re.compile(translate(pattern), re.DOTALL).fullmatch
    except GlobError as error:
        raise UsageError(f"{pattern}: {error}") from None


def _rule(line: str) -> tuple[bool, Callable[[str], object]] | None:
    """Whether a pattern is an exception, and its matcher; None for an empty line."""
    line = line.strip()
    keeps = line.startswith("!")
    text = os.path.normpath(line.removeprefix("!").strip()).lstrip("/") if line.removeprefix("!").strip() else ""
    return (keeps, _matcher(text)) if text else None


def _ignored(base: str, root: str) -> list[Patterns]:
    """The patterns of the nearest ignore file: in the folder itself, else in a folder above it up to `base`."""
    top, folder = os.path.abspath(base), os.path.abspath(root)
    below = ""
    while True:
        for name in IGNORE_FILES:
            lines = _ignore_lines(os.path.join(folder, name))
            if lines is not None:
                return [Patterns(lines, below)]
        if folder == top or not folder.startswith(top.rstrip("/") + "/"):
            return []
        folder, name = os.path.split(folder)
        below = f"{name}/{below}" if below else name


def _ignore_lines(path: str) -> list[str] | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return [line for line in file.read().splitlines() if not line.startswith("#")]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
