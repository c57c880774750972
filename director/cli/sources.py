"""Sends the files of a submission: opened here, with the rights of the user, and passed as descriptors."""

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

ENTRIES = FDS_LIMIT  # in one frame, of any kind, so that there are never more files than descriptors


class Wants:
    """Answers the wants of the server, one at a time; a want names a source."""

    def __init__(self, connection: Connection) -> None:
        self._link = connection
        self._left: Iterator[Found] = iter(())

    def begin(self, want: Mapping[str, Any]) -> None:
        """Send the first frame for a want; the rest of the want before it is dropped."""
        from director.transfer.sources import expand

        self._left = expand(want)
        self.go_on()

    def go_on(self) -> None:
        """Send the next frame: up to 200 entries, none at the end, or why the source cannot be read."""
        opened: list[int] = []
        try:
            batch = list(itertools.islice(self._left, ENTRIES))
            opened.extend(found.open() for found in batch if found.kind == "file")
            self._link.send({"entries": [found.entry() for found in batch]}, opened)
        except UsageError as error:
            self._link.send({"error": str(error)})
        finally:
            close_all(opened)
