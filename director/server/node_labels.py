"""The labels of nodes, which are the server's: from tokens, from operators, from LABEL steps as they were planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from logging import getLogger
from typing import Any

from director import labels
from director.protocol import messages
from director.runtime.logs import Seldom
from director.scheduler.job_state import JobRun
from director.server import audit
from director.server.roster import NodeRecord, Send

seldom = Seldom(getLogger(__name__))


class NodeLabels:
    """Changes labels in the roster, and tells the nodes theirs.

    Args:
        send: sends a message to a node.
        note: gets each node whose labels changed.
    """

    def __init__(self, send: Send, note: Callable[[str, NodeRecord | None], None]) -> None:
        self._send, self._note = send, note

    def change(self, record: NodeRecord, changes: Mapping[str, str]) -> list[Any]:
        """Change labels; an empty value removes one. The operations that record it, none when all is so already.

        A change after which the node would have too many labels is left out and logged.
        """
        wanted = labels.changed(record.labels, changes)
        if wanted == record.labels:
            return []
        if why := labels.excess(wanted):
            seldom.warning("%s keeps the labels it has: it would have %s", record.name, why)
            return []
        record.labels = wanted
        self._note(record.name, record)
        if record.online:
            self._send(record, messages.encode("labels", labels=wanted), ())
        return [("node", {"name": record.name, "labels": wanted})]

    def take_steps(self, run: JobRun, record: NodeRecord, steps: Iterable[int]) -> list[Any]:
        """Record the LABELs among steps that succeeded on a node, from the plan; the operations."""
        planned = run.meta.get("labels")
        if not planned:
            return []
        changes: dict[str, str] = {}
        for step in steps:
            spec = planned.get(str(step), {"sets": (), "of": {}})
            number = spec["of"].get(record.name) if spec["of"] else 0
            changes.update(spec["sets"][number] if spec["sets"] and number is not None else {})
        operations = self.change(record, changes)
        if operations:
            operations.append(audit.line("labelled", [record.name], job=run.id, **audit.shown({"labels": changes})))
        return operations
