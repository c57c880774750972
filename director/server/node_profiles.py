"""What nodes say of themselves, facts and remembered ARGs: taken at a bounded pace, the newest is kept.

ARGs come with the results that set them, and whole with hello and `profile`; they count at once. Facts change at most
once in `PACE` seconds: later ones wait, and only the newest is kept. Both are written to the ledger at that pace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import ujson

from director.runtime.logs import Seldom
from director.server.ledger_client import LedgerClient
from director.server.roster import FACTS_LIMIT, NodeRecord, args_of, shallow

PACE = 10.0  # seconds between two changes of a node's facts

seldom = Seldom(logging.getLogger(__name__))


class NodeProfiles:
    """Takes `profile` messages.

    Args:
        note: gets each node whose facts changed.
    """

    def __init__(self, ledger: LedgerClient, note: Callable[[str, NodeRecord | None], None]) -> None:
        self._ledger, self._note = ledger, note

    def take(self, record: NodeRecord, profile: Mapping[str, Any], now: float) -> None:
        """A node says what it is, at `now`, in monotonic seconds."""
        facts = ujson.dumps(shallow(profile["facts"]))
        if len(facts) > FACTS_LIMIT:
            seldom.warning("%s has facts of %d KiB; at most %d are kept, so none of these", record.name,
                           len(facts) >> 10, FACTS_LIMIT >> 10)  # fmt: skip
            facts = "{}"
        record.next_facts = facts
        record.args = args_of(profile["args"])
        record.unsaved = True
        self.save(record, now)

    def save(self, record: NodeRecord, now: float) -> None:
        """Make the newest profile count and write it, unless the last time was too recent."""
        if now < record.saved_at + PACE:
            return
        record.unsaved, record.saved_at = False, now
        if record.next_facts is not None:
            record.facts, record.next_facts = record.next_facts, None
            self._note(record.name, record)
        self._ledger.write(("node", {"name": record.name, "facts": record.facts, "args": record.args}), lazy=True)
