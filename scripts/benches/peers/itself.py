"""Director, measured by the same yardstick as its peers."""

from __future__ import annotations

from pathlib import Path

from benches.fleet import Fleet
from benches.peers.base import Peer


class Itself(Peer):
    """The director of this checkout."""

    name = "director"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "fleet").mkdir()
        self._fleet = Fleet(folder / "fleet")

    def install(self) -> None:
        """It is here."""

    def start(self, nodes: int) -> None:
        """A server and local clients."""
        super().start(nodes)
        self._fleet.start_server()
        self._fleet.start_clients(1, nodes)

    def one(self, command: str) -> None:
        """--exec --wait."""
        self._fleet.timed("--exec", f"RUN {command}", "--wait")

    def steps(self, command: str, count: int) -> None:
        """--orchestrate --wait."""
        file = self.folder / "steps.director"
        file.write_text(f"RUN {command}\n" * count)
        self._fleet.timed("--orchestrate", str(file), "--no-cache", "--wait")

    def __exit__(self, *_: object) -> None:
        self._fleet.close()
