"""Token buckets: how often something may happen, with a burst."""

from __future__ import annotations

from collections import OrderedDict


class Buckets:
    """One bucket for each key, `most` keys at a time; the one that was asked longest ago is forgotten first.

    A forgotten key begins with a full bucket. So `most` must be larger than the number of keys that one party can
    choose among.

    Args:
        burst: how much a full bucket has.
        rate: what it gains each second.
    """

    def __init__(self, burst: float, rate: float, most: int) -> None:
        self._burst, self._rate, self._most = burst, rate, most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: what is left, monotonic time of that

    def take(self, key: str, now: float, amount: float = 1.0) -> bool:
        """Take `amount` from the key's bucket at `now`, in monotonic seconds; False when it has less."""
        left, at = self._left.pop(key, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._rate)
        enough = left >= amount
        self._left[key] = (left - amount if enough else left, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return enough
