"""The nodes the server knows: who they are, what they said of themselves, and whether they are here now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ujson

ONLINE, OFFLINE = "online", "offline"


@dataclass(slots=True)
class NodeRecord:
    """One enrolled node.

    Attributes:
        key: its public CURVE key in Z85; the node is this key.
        peer: routing id of its live connection, None without one.
        heard: monotonic time of its last message, None when it was not heard since the server started.
        last_seen: the same by the wall clock, epoch seconds.
        facts: JSON text, parsed only when asked for.
        mark: highest journal mark it has shown; a lower one means an older state folder.
        instance: of its state folder.
        life: of its process.
        inherited: labels of the key it took the name from, until the node has said that they are its own now.
        agent_start, host_start: epoch seconds by the server's clock.
    """

    name: str
    key: str
    peer: bytes | None = None
    online: bool = False
    heard: float | None = None
    last_seen: float | None = None
    address: str = ""
    version: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    facts: str = "{}"
    mark: int = 0
    instance: str = ""
    life: str = ""
    agent_start: float | None = None
    host_start: float | None = None
    lag: float = 0.0
    reason: str = ""
    inherited: dict[str, str] | None = None
    jobs: dict[str, Any] = field(default_factory=dict)  # job id -> NodeRun that is not final
    seq: int = 0
    offline_since: float = 0.0
    due: float = 0.0  # monotonic: nothing of this node expires or is lost before
    back_by: float = 0.0  # monotonic: the node is away for a restart of its host, and no task of it lost before
    trouble: str = ""  # why it does not go on, as its last beat said
    deaf: bool = False  # a result of its was left out as the disk was full: later ones are not taken either

    @property
    def state(self) -> str:
        """The contract's word for it."""
        return ONLINE if self.online else OFFLINE

    def seen(self, now: float, monotonic: float) -> float | None:
        """When it was last heard, in epoch seconds; None when it never was. The two clocks say what time it is."""
        return now - (monotonic - self.heard) if self.online and self.heard is not None else self.last_seen


#: queues header and payload for a node; False when they were surely not delivered
Send = Callable[[NodeRecord, bytes, "tuple[bytes, ...]"], bool]


class Roster:
    """All nodes by name, by key and by live connection; a `RosterView` for targets."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeRecord] = {}
        self.by_key: dict[str, NodeRecord] = {}
        self.by_peer: dict[bytes, NodeRecord] = {}

    def add(self, record: NodeRecord) -> None:
        """Take a node in, under its name and its key; a former key of the name is forgotten."""
        former = self.nodes.get(record.name)
        if former is not None:
            self.by_key.pop(former.key, None)
            self.detach(former)
        self.nodes[record.name] = record
        self.by_key[record.key] = record

    def remove(self, name: str) -> None:
        """Forget a node."""
        record = self.nodes.pop(name)
        self.by_key.pop(record.key, None)
        self.detach(record)

    def attach(self, record: NodeRecord, peer: bytes) -> None:
        """`peer` is this node's connection from now on."""
        self.detach(record)
        record.peer = peer
        self.by_peer[peer] = record

    def detach(self, record: NodeRecord) -> None:
        """The node has no connection now."""
        if record.peer is not None:
            self.by_peer.pop(record.peer, None)
            record.peer = None

    # -- RosterView ---------------------------------------------------------------------------------------

    def names(self) -> Iterable[str]:
        """Every enrolled node."""
        return self.nodes.keys()

    def has(self, name: str) -> bool:
        """Whether a node of this name is enrolled."""
        return name in self.nodes

    def online(self, name: str) -> bool:
        """Whether it is here now."""
        return self.nodes[name].online

    def labels(self, name: str) -> Mapping[str, str]:
        """Its labels."""
        return self.nodes[name].labels

    def facts(self, name: str) -> Mapping[str, Any]:
        """Its facts, parsed now."""
        facts: Mapping[str, Any] = ujson.loads(self.nodes[name].facts)
        return facts
