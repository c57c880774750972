"""Keys that may not connect any more: in memory, as ZAP asks for every connection, and in the ledger."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from director.stores.contract import SUPERSEDED


class RevokedKeys:
    """Keys that an operator revoked, and the newest of those that another key of their name superseded.

    Args:
        rows: as the ledger has them.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._revoked = {row["key"] for row in rows if not row["superseded"]}
        superseded = sorted((row["at"], row["key"]) for row in rows if row["superseded"])
        self._superseded = OrderedDict.fromkeys(key for _, key in superseded)

    def __contains__(self, key: object) -> bool:
        return key in self._revoked or key in self._superseded

    def add(self, key: str, name: str, reason: str, superseded: bool = False) -> tuple[str, dict[str, Any]]:
        """Refuse this key of this name from now on; the operation that records it."""
        if superseded:
            self._superseded[key] = None
            while len(self._superseded) > SUPERSEDED:
                self._superseded.popitem(last=False)
        else:
            self._revoked.add(key)
        return "revoke_key", {"key": key, "name": name, "reason": reason, "at": time.time(), "superseded": superseded}
