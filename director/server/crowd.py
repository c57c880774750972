"""Connections of peers that have not shown who they are: bounded for each address and together. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Crowd(Generic[T]):
    """Connections, the oldest first.

    Args:
        of_address: how many one address may have.
        together: how many there may be.
    """

    def __init__(self, of_address: int, together: int) -> None:
        self._of_address, self._together = of_address, together
        self._open: OrderedDict[T, tuple[str, float]] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, connection: T) -> bool:
        return connection in self._open

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._open))

    def add(self, connection: T, address: str, now: float, more: int = 0) -> T | None:
        """Add a connection; the one to end for it, which is never the new one: None while there is room.

        When the address has too many it is the oldest of that address, else the oldest of the address with the most.

        Args:
            more: by how much both bounds are higher at the moment.
        """
        self.remove(connection)
        self._open[connection] = (address, now)
        self._counts[address] += 1
        if self._counts[address] <= self._of_address + more:
            if len(self._open) <= self._together + more:
                return None
            address = self._counts.most_common(1)[0][0]
        victim = next((one for one, (where, _) in self._open.items() if where == address and one != connection), None)
        if victim is not None:
            self.remove(victim)
        return victim

    def remove(self, connection: T) -> None:
        """The connection has ended, or its peer is known."""
        found = self._open.pop(connection, None)
        if found is not None:
            self._counts[found[0]] -= 1
            if not self._counts[found[0]]:
                del self._counts[found[0]]

    def older_than(self, at: float) -> list[T]:
        """The connections that were added before this time."""
        found = []
        for connection, (_, since) in self._open.items():
            if since >= at:
                break
            found.append(connection)
        return found
