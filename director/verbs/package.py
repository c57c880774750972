"""PACKAGE: software packages, by the node's own package manager."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from director.blobs import write_all
from director.errors import VerbError
from director.states import SUCCESS
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, cached
from director.verbs.reading import rendered_words, words

if TYPE_CHECKING:
    from director.language.instructions import Instruction

_NAME = re.compile(r"[A-Za-z0-9@/][^\s;|&<>`$(){}\[\]!\"'\\]*")
_OVERWRITTEN = re.compile(rb"^.*\r(?=[^\r\n])|\r+$", re.MULTILINE)
_FRESH = 3600.0  # seconds for which apt's lists count as new enough to install from


@dataclass(frozen=True, slots=True)
class Manager:
    """How one package manager is asked; the words get the package names appended.

    Attributes:
        refresh: reads the lists of packages again; () when the others do that by themselves.
        forget: what --clear-metadata runs instead of it.
        exclude: makes the words that leave packages out; None when it cannot.
        installed: words that list what is installed of some names, one a line, by `pattern`.
    """

    install: tuple[str, ...]
    latest: tuple[str, ...]
    absent: tuple[str, ...]
    installed: tuple[str, ...]
    pattern: re.Pattern[str]
    refresh: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    exclude: Callable[[list[str]], list[str]] | None = None


def _dnf(program: str) -> Manager:
    return Manager(
        (program, "install", "-y"),
        (program, "install", "-y", "--best") if program == "dnf" else (program, "install", "-y"),
        (program, "remove", "-y"),
        ("rpm", "-q", "--qf", "%{NAME}\\n"),
        re.compile(r"^(\S+)$", re.MULTILINE),
        forget=(program, "clean", "metadata"),
        exclude=lambda names: [f"--exclude={','.join(names)}"],
    )


_DPKG_ROW = "${db:Status-Status} ${Package}\\n${db:Status-Status} ${Package}:${Architecture}\\n"

MANAGERS: dict[str, Manager] = {
    "apt-get": Manager(
        ("apt-get", "install", "-y", "-o", "DPkg::Lock::Timeout=120"),
        ("apt-get", "install", "-y", "-o", "DPkg::Lock::Timeout=120"),
        ("apt-get", "remove", "-y", "-o", "DPkg::Lock::Timeout=120"),
        ("dpkg-query", "-W", "-f", _DPKG_ROW),
        re.compile(r"^installed (\S+)$", re.MULTILINE),
        refresh=("apt-get", "update", "-o", "DPkg::Lock::Timeout=120"),
    ),
    "dnf": _dnf("dnf"),
    "yum": _dnf("yum"),
    "zypper": Manager(
        ("zypper", "--non-interactive", "install"),
        ("zypper", "--non-interactive", "install"),
        ("zypper", "--non-interactive", "remove"),
        ("rpm", "-q", "--qf", "%{NAME}\\n"),
        re.compile(r"^(\S+)$", re.MULTILINE),
        forget=("zypper", "--non-interactive", "refresh", "--force"),
    ),
    "apk": Manager(
        ("apk", "add"), ("apk", "add", "--upgrade"), ("apk", "del"), ("apk", "info", "-e"),
        re.compile(r"^(\S+)$", re.MULTILINE), refresh=("apk", "update"),
    ),
    "pacman": Manager(
        ("pacman", "-S", "--noconfirm", "--needed"), ("pacman", "-S", "--noconfirm", "--needed"),
        ("pacman", "-R", "--noconfirm"), ("pacman", "-Qq"), re.compile(r"^(\S+)$", re.MULTILINE),
        refresh=("pacman", "-Sy"), exclude=lambda names: [f"--ignore={','.join(names)}"],
    ),
}  # fmt: skip


class Package(Verb):
    """PACKAGE NAME…: install packages with the node's own package manager (apt, dnf, yum, zypper, apk or pacman).

    What is installed already is left as it is, and the step is `cached` when that is all. Two of them never run at
    once on a node. APT and DNF are other names of the verb, and do the same.

        PACKAGE curl nginx
        PACKAGE --latest --exclude kernel openssl
        PACKAGE --absent telnet
    """

    name = "PACKAGE"
    flags = (
        Flag("latest", "bool", "install, or bring to the newest version", default=False),
        Flag("absent", "bool", "remove", default=False),
        Flag("clear-metadata", "bool", "read the lists of packages anew before an install", default=False),
        Flag("exclude", "words", "leave these out, also as dependencies"),
        Flag("retry", "count", "attempts in all, with growing pauses", aliases=("retries",), metavar="N"),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`words`: the names, raw."""
        if planning.flags.get("latest") and planning.flags.get("absent"):
            raise planning.fail("PACKAGE cannot do --latest and --absent at once; expected one of them")
        body = words(instruction, planning)
        if not body["words"]:
            raise planning.fail("PACKAGE needs a name; expected PACKAGE NAME…")
        return body

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """One at a time on a node; only what is missing is asked for."""
        names = rendered_words(body, node, "package")
        for name in names:
            if not _NAME.fullmatch(name):
                raise VerbError(f"{name!r} is no package name")
        with node.exclusive("packages"):
            manager = MANAGERS[find_manager()]
            there = _installed(manager, names, node)
            if flags.get("absent"):
                present = [name for name in names if _plain(name) in there]
                return _run(node, [*manager.absent, *present]) if present else cached(reason="not installed")
            missing = names if flags.get("latest") else [name for name in names if _plain(name) not in there]
            if not missing:
                return cached(reason="installed already")
            return _install(manager, missing, flags, node)


def find_manager(path: str | None = None) -> str:
    """The name of the first package manager in `path` (None: the client's PATH and the usual folders)."""
    folders = (path if path is not None else os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin").split(":")
    for name in MANAGERS:
        if any(folder and os.access(os.path.join(folder, name), os.X_OK) for folder in folders):
            return name
    raise VerbError(f"no package manager on this node; expected one of {', '.join(MANAGERS)}")


def _install(manager: Manager, names: list[str], flags: Mapping[str, Any], node: Node) -> Outcome:
    latest, excluded = bool(flags.get("latest")), list(flags.get("exclude") or ())
    clear = bool(flags.get("clear-metadata"))
    renew = manager.forget if clear and manager.forget else manager.refresh
    if renew and (clear or latest or _stale(manager)):
        refreshed = _run(node, list(renew))
        if refreshed.state != SUCCESS:
            return refreshed
    command = list(manager.latest if latest else manager.install)
    if not excluded:
        return _run(node, [*command, *names])
    if manager.exclude is not None:
        return _run(node, [*command, *manager.exclude(excluded), *names])
    if command[0] != "apt-get":
        raise VerbError(f"{command[0]} cannot leave packages out; expected no --exclude")
    return _apt_without(command, names, excluded, node)


def _apt_without(command: list[str], names: list[str], excluded: list[str], node: Node) -> Outcome:
    """apt leaves out what a file of preferences pins below zero."""
    fd, path = tempfile.mkstemp(prefix="director-apt-")
    try:
        os.fchmod(fd, 0o644)
        write_all(fd, "".join(f"Package: {name}\nPin: release *\nPin-Priority: -1\n\n" for name in excluded).encode())
        return _run(node, [*command, "-o", f"Dir::Etc::Preferences={path}", *names])
    finally:
        os.close(fd)
        os.unlink(path)


def _installed(manager: Manager, names: list[str], node: Node) -> set[str]:
    """Of `names`, those that are installed (a name that is unknown makes the listing fail, and says nothing)."""
    outcome = _run(node, [*manager.installed, *map(_plain, names)])
    return set(manager.pattern.findall(outcome.stdout.decode("utf-8", "replace")))


def _plain(name: str) -> str:
    """The name without a version: `nginx=1.22` is nginx; with a version it counts as installed all the same."""
    return re.split(r"[=<>~]", name, maxsplit=1)[0]


def _stale(manager: Manager) -> bool:
    """Whether the lists must be read again before an install can find what it is asked for."""
    if manager.refresh[0] != "apt-get":
        return manager.refresh[0] == "apk"
    newest = 0.0
    for path in ("/var/lib/apt/lists", "/var/lib/apt/lists/partial", "/var/lib/apt/periodic/update-success-stamp"):
        if os.path.exists(path):
            newest = max(newest, os.stat(path).st_mtime)
    return not _lists("/var/lib/apt/lists") or time.time() - newest > _FRESH


def _lists(folder: str) -> bool:
    return os.path.isdir(folder) and any("Packages" in entry.name for entry in os.scandir(folder))


def _run(node: Node, argv: list[str]) -> Outcome:
    outcome = node.run(argv, user="", cwd="/", env={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
    return replace(outcome, stdout=without_progress(outcome.stdout), stderr=without_progress(outcome.stderr))


def without_progress(output: bytes) -> bytes:
    """The output as a terminal would show it at the end: of a line that was written again and again, the last."""
    return _OVERWRITTEN.sub(b"", output)
