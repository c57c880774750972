"""How much one node may send, whatever it sends: a bucket of units a node, which a healthy client never empties. Pure.

A unit is what the smallest message costs the server. What the server asked for is given back to the bucket: results of
tasks that the node had, and contents of files that were requested.
"""

from __future__ import annotations

from dataclasses import dataclass

BURST = 40_000.0  # units
RATE = 4000.0  # units each second
HEAD = 1024  # bytes of a header, which is parsed, that are one unit more
BODY = 8192  # bytes of a payload, which is only passed on
WEIGHTS = {"hello": 100, "profile": 100, "dry_run_result": 20, "offer": 10}  # units beside the size; else 1
PAUSE = 30.0  # seconds that a node is kept out after it was cut off
SHARE_BYTES = 16 * 1024 * 1024  # of results that wait for the disk, of one node; clients have 10 MiB under way
SHARE_MESSAGES = 128  # clients have 32 under way
WHY = "sent more than any client does: 4,000 messages a second, 4 MiB of headers or 32 MiB of contents"


def cost(kind: str, head: int, body: int) -> float:
    """Units of a message of this kind, with so many bytes of header and payload."""
    return WEIGHTS.get(kind, 1) + head / HEAD + body / BODY


@dataclass(slots=True)
class Budget:
    """What one node may still send, and what the server has in hand for it.

    Attributes:
        left: units at the time `at`, in monotonic seconds.
        asked: bytes of contents that the server has requested and not received.
        unstored, messages: bytes and number of its results that wait for the disk.
        barred_until: monotonic time before which the node is kept out; 0 for never.
    """

    left: float = BURST
    at: float = 0.0
    asked: int = 0
    unstored: int = 0
    messages: int = 0
    barred_until: float = 0.0

    def take(self, units: float, now: float) -> bool:
        """Take units; False when there are not enough left."""
        left = min(BURST, self.left + (now - self.at) * RATE) - units
        self.at = now
        self.left = max(0.0, left)
        return left >= 0

    def give_back(self, units: float) -> None:
        """Units of a message that the server wanted."""
        self.left = min(BURST, self.left + units)

    def came(self, size: int) -> None:
        """Contents of files came; if they were asked for, they cost nothing."""
        if size <= self.asked:
            self.asked -= size
            self.give_back(cost("contents", 0, size))

    def wait_for_disk(self, size: int) -> bool:
        """Results of so many bytes are to be written; False, and no change, when too much waits already."""
        if self.messages >= SHARE_MESSAGES or (self.messages and self.unstored + size > SHARE_BYTES):
            return False
        self.messages += 1
        self.unstored += size
        return True

    def stored(self, size: int) -> None:
        """These results are on disk."""
        self.messages -= 1
        self.unstored -= size

    @property
    def has_room(self) -> bool:
        """Whether at most half of the share of the disk queue is taken."""
        return self.messages <= SHARE_MESSAGES // 2 and self.unstored <= SHARE_BYTES // 2
