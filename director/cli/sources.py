"""Sends the server the files that a plan reads: opened here with the caller's rights, passed as descriptors."""

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
    """Answers one want at a time."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._left: Iterator[Found] = iter(())

    def begin(self, want: Mapping[str, Any]) -> None:
        """Send the first frame for a want; what is left of the one before is not sent."""
        from director.transfer.sources import expand

        self._left = expand(want)
        self.go_on()

    def go_on(self) -> None:
        """Send the next frame: at most 200 entries, none when there are no more, or why the source cannot be read."""
        opened: list[int] = []
        try:
            batch = list(itertools.islice(self._left, ENTRIES))
            opened.extend(found.open() for found in batch if found.kind == "file")
            self._link.send({"entries": [found.entry() for found in batch]}, opened)
        except UsageError as error:
            self._link.send({"error": str(error)})
        finally:
            close_all(opened)
