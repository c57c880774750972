"""The command that gives nodes labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from director import labels
from director.api.requests import Caller
from director.errors import NoTargetError, UsageError
from director.runtime.greenlets import Pace
from director.server.ledger_client import LedgerClient
from director.server.node_labels import NodeLabels
from director.server.roster import Roster

NODES = 100_000  # of one request
WRITE_BYTES = 32 << 20  # of the labels of all nodes of one request, which go to the ledger in one write


@dataclass(frozen=True, slots=True)
class LabelChange:
    """Labels to be set; an empty value removes one.

    Attributes:
        node: a target expression; "" for none.
        labels: for the nodes of `node`.
        nodes: for each node its own labels, by name.
    """

    node: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)


class Labels:
    """Answers the command about labels.

    Args:
        select: the names that a target expression selects for a caller.
    """

    def __init__(
        self, roster: Roster, node_labels: NodeLabels, ledger: LedgerClient, select: Callable[[str, Caller], list[str]]
    ) -> None:
        self._roster, self._labels, self._ledger, self._select = roster, node_labels, ledger, select

    def label_node(self, request: LabelChange, caller: Caller) -> dict[str, int]:
        """Change labels of all nodes or of none, in one write: `{"nodes": n, "changed": of these}`.

        Raises:
            UsageError: the expression or a label cannot be used, or a node would have too many.
            NoTargetError: it selects nothing, or there is no such node.
        """
        if len(request.nodes) > NODES:
            raise UsageError(f"labels of {len(request.nodes)} nodes at once; expected at most {NODES}")
        named = self._select(request.node, caller) if request.node else []
        changes = {**request.nodes, **{name: {**request.nodes.get(name, {}), **request.labels} for name in named}}
        pace, size = Pace(), 0
        for name, wanted in changes.items():
            size += self._check(name, wanted)
            pace.pause()
        if size > WRITE_BYTES:
            raise UsageError(f"these nodes would have {size >> 20} MiB of labels; label fewer of them at once")
        caller.entry.write(changes)
        operations: list[Any] = []
        for name, wanted in changes.items():
            record = self._roster.nodes.get(name)  # it may be purged meanwhile
            operations += self._labels.change(record, wanted) if record is not None else ()
            pace.pause()
        self._ledger.commit(*operations)
        return {"nodes": len(changes), "changed": len(operations)}

    def _check(self, name: str, changes: Mapping[str, str]) -> int:
        """The characters of the labels that the node would have. Raises as `label_node`."""
        record = self._roster.nodes.get(name)
        if record is None:
            raise NoTargetError(f"there is no node {name}; nothing was changed")
        for label, value in changes.items():
            why = labels.name_fault(label)
            if why and value:  # whatever a LABEL step has set can be removed
                raise UsageError(f"{label}={value[:40]}: {why}")
        wanted = labels.changed(record.labels, changes)
        if why := labels.excess(wanted):
            raise UsageError(f"{name} would have {why}; nothing was changed")
        return sum(len(label) + len(value) for label, value in wanted.items())
