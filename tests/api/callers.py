"""Calls over a real operator's socket by other users: the kernel reports who connects."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from director.protocol.framing import Channel

SOCKET_GROUP = 62000


@dataclass
class Answer:
    """The exit code of a call, the error, and the JSON items of the answer."""

    exit: int = 0
    error: str = ""
    items: list[Any] = field(default_factory=list)

    @property
    def rows(self) -> list[Any]:
        """The rows of a listing."""
        return [row for part in self.items for row in part]


@dataclass(frozen=True)
class User:
    """A user without a name, who may open the socket."""

    uid: int
    groups: tuple[int, ...] = ()

    def ask(self, path: Path, do: str, **fields: Any) -> Answer:
        """Run one command."""
        with self.open(path) as channel:
            channel.send({"do": do, **fields})
            return _answer(channel)

    @contextmanager
    def open(self, path: Path) -> Iterator[Channel]:
        """A connection."""
        with socket.socket(socket.AF_UNIX) as sock:
            with self._acting():
                sock.connect(str(path))
            yield Channel(sock)

    @contextmanager
    def _acting(self) -> Iterator[None]:
        groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
        os.setgroups([SOCKET_GROUP, *self.groups])
        os.setegid(self.uid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(uid)
            os.setegid(gid)
            os.setgroups(groups)


def _answer(channel: Channel) -> Answer:
    found, text = Answer(), b""
    while (frame := channel.receive()) is not None:
        header, body, _ = frame
        if "alive" in header:
            continue
        if "error" in header:
            return Answer(header["exit"], header["error"])
        text += body
        if not header["cut"] and text:
            found.items.append(json.loads(text))
            text = b""
        if not header["more"]:
            return found
    raise AssertionError("the server ended the connection")
