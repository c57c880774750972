"""Keys that asked for a name and were not let in: what `--list-nodes` shows as `pending`. Pure; times are arguments."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

MOST = 1000
MOST_AN_ADDRESS = 64
TTL = 600.0  # seconds after its last request that a row is kept
MARKED = 10_000  # keys that waited for a name when it was purged
MARKED_TTL = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A key that waits for a name.

    Attributes:
        since: epoch seconds of its first request.
        at: monotonic seconds of its last one.
    """

    name: str
    key: str
    address: str
    reason: str
    since: float
    at: float


class PendingTable:
    """At most `MOST` rows, one for each name and key. A full table takes no newcomer and drops nobody for one."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, str], Pending] = OrderedDict()  # the longest silent first
        self._addresses: Counter[str] = Counter()
        self._marked: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __iter__(self):  # type: ignore[no-untyped-def]  # Iterator[Pending]
        return iter(list(self._rows.values()))

    def add(self, name: str, key: str, address: str, reason: str, now: float, wall: float) -> bool:
        """Note a request at `now`, monotonic seconds; `wall` is the same in epoch seconds.

        Returns:
            Whether the row is new; False also when there is no room for it.
        """
        self._expire(now)
        known = self._rows.get((name, key))
        if known is None and (len(self._rows) >= MOST or self._addresses[address] >= MOST_AN_ADDRESS):
            return False
        self.drop(name, key)
        self._rows[name, key] = Pending(name, key, address, reason, known.since if known else wall, now)
        self._addresses[address] += 1
        return known is None

    def drop(self, name: str, key: str) -> None:
        """Forget one row, if it is there."""
        row = self._rows.pop((name, key), None)
        if row is not None:
            self._addresses[row.address] -= 1
            if not self._addresses[row.address]:
                del self._addresses[row.address]

    def named(self, name: str) -> list[Pending]:
        """The keys that wait for this name, in the order of their last requests."""
        return [row for row in self._rows.values() if row.name == name]

    def mark(self, names: Iterable[str], now: float) -> None:
        """The names were purged: the keys that wait for one of them may not have it as a new one."""
        purged = set(names)
        for row in self._rows.values():
            if row.name in purged:
                self._marked.pop((row.name, row.key), None)
                self._marked[row.name, row.key] = now
        while len(self._marked) > MARKED:
            self._marked.popitem(last=False)

    def is_marked(self, name: str, key: str, now: float) -> bool:
        """Whether this key waited for this name when the name was purged, within the last day."""
        at = self._marked.get((name, key))
        return at is not None and now - at < MARKED_TTL

    def _expire(self, now: float) -> None:
        while self._rows:
            row = next(iter(self._rows.values()))
            if now - row.at < TTL:
                return
            self.drop(row.name, row.key)
