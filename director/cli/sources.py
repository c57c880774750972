"""Gives the server the files that a plan wants: opened here with the caller's rights, passed as descriptors."""

from __future__ import annotations

import itertools

from director.errors import UsageError
from director.protocol.framing import FDS_LIMIT, close_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from director.cli.connection import Connection
    from director.transfer.sources import Found

ENTRIES = FDS_LIMIT  # of any kind in one frame, so that never more files than descriptors are allowed


class Wants:
    """Answers one want at a time; the same one again begins anew."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._left: Iterator[Found] = iter(())
        self._head: dict[str, Any] = {}

    def begin(self, want: Mapping[str, Any]) -> None:
        """Send the first frame for a want."""
        from director.transfer.sources import expand

        self._head = {"do": "source", "req": want.get("req"), "spec": want.get("spec")}
        self._left = expand(want)
        self.go_on()

    def go_on(self) -> None:
        """Send the next frame: at most 200 entries, or why the sources cannot be read."""
        opened: list[int] = []
        try:
            batch = list(itertools.islice(self._left, ENTRIES))
            opened.extend(found.open() for found in batch if found.kind == "file")
            following = next(self._left, None)
        except UsageError as error:
            close_all(opened)
            self._link.send({**self._head, "error": str(error)})
            return
        if following is not None:
            self._left = itertools.chain((following,), self._left)
        entries = [found.entry() for found in batch]
        try:
            self._link.send({**self._head, "entries": entries, "last": following is None}, opened)
        finally:
            close_all(opened)
