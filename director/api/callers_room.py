"""The memory that requests of all callers may take while they come and are answered. Pure."""

from __future__ import annotations

from collections import Counter

TOGETHER = 256 * 1024 * 1024  # bytes
OF_USER = 128 * 1024 * 1024  # of the callers of one user


class CallersRoom:
    """Counts bytes by user."""

    def __init__(self, together: int = TOGETHER, of_user: int = OF_USER) -> None:
        self._together, self._of_user = together, of_user
        self._held: Counter[int] = Counter()
        self.total = 0

    def take(self, uid: int, count: int) -> bool:
        """Take so many bytes for a user; False when there is no room for them."""
        if self.total + count > self._together or self._held[uid] + count > self._of_user:
            return False
        self.total += count
        self._held[uid] += count
        return True

    def give_back(self, uid: int, count: int) -> None:
        """These bytes are free again."""
        self.total -= count
        self._held[uid] -= count
        if not self._held[uid]:
            del self._held[uid]
