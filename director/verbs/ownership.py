"""`--chown` and `--chmod`: parses them and compares them with files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from director.verbs.base import Node

_OCTAL = re.compile(r"[0-7]{1,5}")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}

Mode = Callable[[int, bool], int]


@dataclass(frozen=True, slots=True)
class Wish:
    """Owner and mode that a step asks for; "" keeps what is there."""

    owner: str = ""
    mode: str = ""

    def __bool__(self) -> bool:
        return bool(self.owner or self.mode)

    def on(self, node: Node) -> Asked:
        """The same with the numbers of this node. Raises VerbError for an unknown user or group."""
        uid, gid = node.identity(self.owner) if self.owner else (-1, -1)
        return Asked(uid, gid, self.mode)


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish with numbers; -1 keeps the uid or gid."""

    uid: int = -1
    gid: int = -1
    mode: str = ""

    def differs(self, status: os.stat_result) -> bool:
        """Whether owner or mode of a folder with this status must change."""
        mode = stat.S_IMODE(status.st_mode)
        owners = self.uid in (-1, status.st_uid) and self.gid in (-1, status.st_gid)
        return not owners or self.bits(mode, True) != mode

    def bits(self, now: int, folder: bool) -> int:
        """The permission bits for a file or folder that has the bits `now`."""
        return change_mode(self.mode, now, folder) if self.mode else now


def wish_of(flags: Mapping[str, Any], fail: Callable[[str], Exception]) -> Wish:
    """The wish in a step's flags. Raises `fail(…)` for a flag that cannot be read."""
    owner, mode = str(flags.get("chown") or ""), str(flags.get("chmod") or "")
    if "chmod" in flags and not _is_mode(mode):
        raise fail(f"--chmod {mode!r} is not a mode; expected octal like 0644 or symbolic like u=rw,go=r")
    if "chown" in flags and (not owner or owner.startswith(":") or owner.count(":") > 1):
        raise fail(f"--chown {owner!r} is not an owner; expected user[:group]")
    return Wish(owner.rstrip(":"), mode)


def change_mode(text: str, now: int, folder: bool) -> int:
    """The bits `now` changed by `text`, octal or symbolic as for chmod. Raises ValueError for any other text."""
    if _OCTAL.fullmatch(text):
        return int(text, 8) & 0o7777
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ValueError(f"{text!r} is not a mode")
        for sign, what in _ACTION.findall(match[2]):
            now = _apply_action(now, match[1] or "ugo", sign, what, folder)
    return now


def _is_mode(text: str) -> bool:
    try:
        change_mode(text, 0, False)
    except ValueError:
        return False
    return True


def _apply_action(now: int, who: str, sign: str, what: str, folder: bool) -> int:
    classes = "ugo" if "a" in who else who
    bits = 0
    for one in classes:
        bits |= _class_bits(what, now, folder) << _SHIFT[one]
    bits |= _special_bits(what, classes)
    if sign == "+":
        return now | bits
    if sign == "-":
        return now & ~bits
    keep = ~0
    for one in classes:
        keep &= ~(7 << _SHIFT[one]) & ~_special_bits("s", one)
    return (now & keep) | bits


def _class_bits(what: str, now: int, folder: bool) -> int:
    if what and what in "ugo":
        return now >> _SHIFT[what] & 7
    bits = 0
    for letter in what:
        bits |= _BITS.get(letter, 0)
    if "X" in what and (folder or now & 0o111):
        bits |= 1
    return bits


def _special_bits(what: str, classes: str) -> int:
    bits = stat.S_ISVTX if "t" in what else 0
    if "s" in what:
        bits |= stat.S_ISUID if "u" in classes else 0
        bits |= stat.S_ISGID if "g" in classes else 0
    return bits
