"""PACKAGE: installs and removes packages with the node's own package manager."""

from __future__ import annotations

import glob
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from director.errors import VerbError
from director.states import SUCCESS
from director.verbs.arguments import Words, rendered_words
from director.verbs.base import Flag, Node, Outcome, Verb, cached

_NAME = re.compile(r"[A-Za-z0-9@/][^\s;|&<>`$(){}\[\]!\"'\\]*")
_OVERWRITTEN = re.compile(rb"^.*\r(?=[^\r\n])|\r+$", re.MULTILINE)
Installed = dict[str, set[str]]  # name to versions; "" for a version that is not known
_FRESH = 3600.0  # seconds; apt's lists are read again when they are older


@dataclass(frozen=True, slots=True)
class Manager:
    """The commands of one package manager, to which package names are appended.

    Attributes:
        latest: with --latest, instead of `install`; () for the same.
        refresh: reads the lists of packages again; () when the other commands do that.
        forget: replaces `refresh` with --clear-metadata.
        exclude: gives the words that leave packages out; None when the manager has no such option.
        installed: lists those of some names that are installed, one a line.
        pattern: takes name and version (if there is one) out of such a line.
        nothing: found in the output of an install that had nothing to do.
    """

    install: tuple[str, ...]
    absent: tuple[str, ...]
    installed: tuple[str, ...]
    pattern: re.Pattern[str]
    latest: tuple[str, ...] = ()
    refresh: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    exclude: Callable[[list[str]], list[str]] | None = None
    nothing: re.Pattern[str] = re.compile(r"nothing to do", re.IGNORECASE)


_DPKG_ROW = "${db:Status-Status} ${Package} ${Version}\\n${db:Status-Status} ${Package}:${Architecture} ${Version}\\n"
_RPM_ROW = "%{NAME} %{EPOCH}:%{VERSION}-%{RELEASE}\\n"
_ROW = re.compile(r"^(\S+)(?: (\S+))?$", re.MULTILINE)


def _dnf(program: str) -> Manager:
    return Manager(
        (program, "install", "-y"),
        (program, "remove", "-y"),
        ("rpm", "-q", "--qf", _RPM_ROW),
        _ROW,
        (program, "install", "-y", "--best") if program == "dnf" else (),
        forget=(program, "clean", "metadata"),
        exclude=lambda names: [f"--exclude={','.join(names)}"],
    )


MANAGERS: dict[str, Manager] = {
    "apt-get": Manager(
        ("apt-get", "install", "-y", "-o", "DPkg::Lock::Timeout=120"),
        ("apt-get", "remove", "-y", "-o", "DPkg::Lock::Timeout=120"),
        ("dpkg-query", "-W", "-f", _DPKG_ROW),
        re.compile(r"^installed (\S+)(?: (\S+))?$", re.MULTILINE),
        refresh=("apt-get", "update", "-o", "DPkg::Lock::Timeout=120"),
        nothing=re.compile(r"^0 upgraded, 0 newly installed, 0 to remove ", re.MULTILINE),
    ),
    "dnf": _dnf("dnf"),
    "yum": _dnf("yum"),
    "zypper": Manager(
        ("zypper", "--non-interactive", "install"),
        ("zypper", "--non-interactive", "remove"),
        ("rpm", "-q", "--qf", _RPM_ROW),
        _ROW,
        forget=("zypper", "--non-interactive", "refresh", "--force"),
    ),
    "apk": Manager(
        ("apk", "add"), ("apk", "del"), ("apk", "info", "-e"), _ROW, ("apk", "add", "--upgrade"),
        refresh=("apk", "update"),
        nothing=re.compile(r"\A(?!.*^\(\d+/\d+\) ).*^OK: ", re.MULTILINE | re.DOTALL),
    ),
    "pacman": Manager(
        ("pacman", "-S", "--noconfirm", "--needed"), ("pacman", "-R", "--noconfirm"), ("pacman", "-Q"), _ROW,
        refresh=("pacman", "-Sy"), exclude=lambda names: [f"--ignore={','.join(names)}"],
    ),
}  # fmt: skip


class Package(Verb):
    """PACKAGE NAME…: install packages with the node's own package manager (apt, dnf, yum, zypper, apk or pacman).

    Each time it asks the package manager what is installed and installs only what is missing; the step is `cached` when
    nothing is. `--latest` asks the package source each time; the step is `cached` when there was nothing newer. A node
    runs only one such step at a time. APT and DNF are other names of the same verb.

        PACKAGE curl nginx
        PACKAGE --latest --exclude kernel openssl
        PACKAGE --absent telnet
    """

    name = "PACKAGE"
    argument = Words("PACKAGE needs a name; expected PACKAGE NAME…")
    exclusive = (("latest", "absent"),)
    compares = True
    flags = (
        Flag("latest", "bool", "install or upgrade to the newest version", default=False),
        Flag("absent", "bool", "remove", default=False),
        Flag("clear-metadata", "bool", "read the lists of packages again before an install", default=False),
        Flag("exclude", "words", "do not install these, also not as dependencies"),
        Flag("retry", "count", "attempts in all, with growing pauses", aliases=("retries",), metavar="N"),
    )

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Install what is missing, or remove what is there, while no other such step runs on the node."""
        names = _names(body, node)
        with node.exclusive("packages"):
            manager = MANAGERS[find_manager()]
            there = _installed(manager, names, node)
            if flags.get("latest"):
                outcome = _install(manager, names, flags, node)
                told = all(any(there.get(_plain(name), ())) for name in names)
                same = outcome.state == SUCCESS and told and _installed(manager, names, node) == there
                return cached(outcome.stdout, "nothing newer") if same else outcome
            wrong = _wrong(names, there, flags)
            if not wrong:
                return cached(reason=_so(flags))
            if flags.get("absent"):
                return _run(node, [*manager.absent, *wrong])
            return _install(manager, wrong, flags, node)

    def foresee(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome | None:
        """What would be installed or removed; None with --latest: only the package source knows what is newest."""
        names = _names(body, node)
        wrong = _wrong(names, _installed(MANAGERS[find_manager()], names, node), flags)
        if wrong:
            return Outcome(reason=f"{'remove' if flags.get('absent') else 'install'} {' '.join(wrong)}")
        return None if flags.get("latest") else cached(reason=_so(flags))


def find_manager(path: str | None = None) -> str:
    """The name of the first package manager in `path` (None: the client's PATH and the usual folders).

    Raises VerbError when there is none.
    """
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
    outcome = _run_install(manager, list((latest and manager.latest) or manager.install), names, excluded, node)
    if outcome.state == SUCCESS and manager.nothing.search(outcome.stdout.decode("utf-8", "replace")):
        return cached(outcome.stdout, "nothing to do")  # a virtual package is never listed as installed
    return outcome


def _run_install(manager: Manager, command: list[str], names: list[str], excluded: list[str], node: Node) -> Outcome:
    if not excluded:
        return _run(node, [*command, *names])
    if manager.exclude is not None:
        return _run(node, [*command, *manager.exclude(excluded), *names])
    if command[0] != "apt-get":
        raise VerbError(f"{command[0]} cannot leave packages out; expected no --exclude")
    return _apt_without(command, names, excluded, node)


def _apt_without(command: list[str], names: list[str], excluded: list[str], node: Node) -> Outcome:
    """apt has no option for it: write a preferences file that pins the packages below zero."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="director-apt-") as file:
        os.fchmod(file.fileno(), 0o644)
        file.writelines(f"Package: {name}\nPin: release *\nPin-Priority: -1\n\n" for name in excluded)
        file.flush()
        return _run(node, [*command, "-o", f"Dir::Etc::Preferences={file.name}", *names])


def _names(body: Mapping[str, Any], node: Node) -> list[str]:
    names = rendered_words(body, node, "package")
    for name in names:
        if not _NAME.fullmatch(name):
            raise VerbError(f"{name!r} is no package name")
    return names


def _wrong(names: list[str], there: Installed, flags: Mapping[str, Any]) -> list[str]:
    """Those of `names` that must be installed or, with --absent, removed."""
    return [name for name in names if (_plain(name) in there) == bool(flags.get("absent"))]


def _so(flags: Mapping[str, Any]) -> str:
    return "not installed" if flags.get("absent") else "installed already"


def _installed(manager: Manager, names: list[str], node: Node) -> Installed:
    """The installed ones of `names`; the exit code means nothing, as an unknown name makes the listing fail."""
    outcome = _run(node, [*manager.installed, *map(_plain, names)], looks=True)
    found: Installed = {}
    for name, version in manager.pattern.findall(outcome.stdout.decode("utf-8", "replace")):
        found.setdefault(name, set()).add(version)
    return found


def _plain(name: str) -> str:
    """The name without a version: `nginx` of `nginx=1.22`."""
    return re.split(r"[=<>~]", name, maxsplit=1)[0]


def _stale(manager: Manager) -> bool:
    """Whether the lists of packages are missing or too old for an install."""
    if manager.refresh[0] != "apt-get":
        return manager.refresh[0] == "apk"
    lists = "/var/lib/apt/lists"
    if not glob.glob(f"{lists}/*Packages*"):
        return True
    paths = (lists, f"{lists}/partial", "/var/lib/apt/periodic/update-success-stamp")
    return time.time() - max(os.stat(path).st_mtime for path in paths if os.path.exists(path)) > _FRESH


def _run(node: Node, argv: list[str], looks: bool = False) -> Outcome:
    env = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    outcome = node.run(argv, user="", cwd="/", env=env, looks=looks)
    return replace(outcome, stdout=without_progress(outcome.stdout), stderr=without_progress(outcome.stderr))


def without_progress(output: bytes) -> bytes:
    """The output without the parts of lines that a carriage return has overwritten."""
    return _OVERWRITTEN.sub(b"", output)
