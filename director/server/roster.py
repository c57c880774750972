"""The nodes that the server knows: what they reported, and whether they are connected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ujson

from director.protocol import keys, messages
from director.server.budgets import Budget

ONLINE, OFFLINE, REVOKED = "online", "offline", "revoked"
ORDERED = "-"  # in place of a node's next key, which the node has not told yet
FACTS_LIMIT = 256 * 1024  # bytes of JSON
ARGS_LIMIT, ARGS_BYTES = 1000, 512 * 1024  # remembered ARGs of a node, and characters of all of them
ARG_LIMIT, NAME_LIMIT = 128 * 1024, 253  # characters of one, and of its name
STORED = (  # attributes that are fields of the store's operation `node`
    "name", "key", "address", "version", "labels", "facts", "args", "last_seen", "reason", "journal_position",
    "instance", "revoked", "token", "renew_until", "next_key", "quarantine", "sealing",
)  # fmt: skip


@dataclass(slots=True)
class NodeRecord:
    """One enrolled node.

    Attributes:
        key: its public CURVE key in Z85; it identifies the node.
        peer: routing id of its connection, None without one.
        last_peer: routing id of the last connection whose session ended by silence; None when that one is closed.
        connection: descriptor and inode of its connection, to cut it.
        pieces: bytes of files and secrets that were sent over this connection.
        heard: monotonic time of its last message, None before its first one since the server started.
        last_seen: epoch seconds of its last message, as it was last stored.
        labels: given by the server; a node cannot say them.
        facts: JSON, parsed only when it is needed.
        journal_position: the highest that the node has reported; a lower one means an older state folder.
        instance: the random name of its state folder.
        process_token: the random name of its client process.
        agent_start, host_start: epoch seconds by the server's clock.
        lag: of the client's event loop, seconds.
        reason: what an operator should know of its enrolment or connection.
        trouble: why it takes no steps or cannot keep a result, as its last heartbeat says.
        token: id of the token that it was enrolled with, "" for none.
        renew_until: epoch seconds until which a new key with any token may have its name; 0 for never.
        revoked: whether its key was revoked; the name stays taken.
        next_key: the key that is to replace `key`, once the node has connected with it; `ORDERED` before the node has
            told it, "" when the key is not to be replaced.
        sealing: the public key that secrets are sealed with for it, in Z85; "" before its first hello.
        quarantine: why it gets no steps until a person has looked, "" when it does.
        jobs: job id to the `NodeRun` that is not final.
        seq: number of the last slice that was sent to it.
        offline_since: monotonic time.
        due: monotonic time before which no task of this node expires or is lost.
        back_by: monotonic time until which a restart of its host may take; no task is lost before.
        withheld: the server ignored results of this session, so it must ignore all later ones too.
        budget: what it may still send.
        cut_off: why and when it was last cut off, for sending too much; "" for never since the server started.
        next_facts: facts that count once `saved_at` is long enough ago, None without any.
        saved_at: monotonic time at which facts and ARGs were last written.
        unsaved: whether they have changed since.
    """

    name: str
    key: str
    peer: bytes | None = None
    last_peer: bytes | None = None
    connection: tuple[int, int] = (-1, 0)
    pieces: int = 0
    online: bool = False
    heard: float | None = None
    last_seen: float | None = None
    address: str = ""
    version: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    facts: str = "{}"
    journal_position: int = 0
    instance: str = ""
    process_token: str = ""
    agent_start: float | None = None
    host_start: float | None = None
    lag: float = 0.0
    reason: str = ""
    trouble: str = ""
    token: str = ""
    renew_until: float = 0.0
    revoked: bool = False
    next_key: str = ""
    quarantine: str = ""
    sealing: str = ""
    jobs: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    offline_since: float = 0.0
    due: float = 0.0
    back_by: float = 0.0
    withheld: bool = False
    budget: Budget = field(default_factory=Budget)
    cut_off: str = ""
    next_facts: str | None = None
    saved_at: float = float("-inf")
    unsaved: bool = False

    @property
    def state(self) -> str:
        """`online`, `offline` or `revoked`."""
        return REVOKED if self.revoked else ONLINE if self.online else OFFLINE

    def seen(self, now: float, monotonic: float) -> float | None:
        """Epoch seconds of its last message, None without one; the arguments are the current times."""
        return now - (monotonic - self.heard) if self.online and self.heard is not None else self.last_seen

    def take_profile(self, profile: Mapping[str, Any]) -> None:
        """Replace what the node says of itself: facts and remembered ARGs."""
        facts = ujson.dumps(shallow(profile.get("facts")))
        self.facts, self.next_facts = facts if len(facts) <= FACTS_LIMIT else "{}", None
        self.args = args_of(profile.get("args"))

    def take_effects(self, effects: Mapping[str, Any]) -> None:
        """A step of the node has set or forgotten ARGs."""
        evicted = effects.get("evict")
        before = {} if isinstance(evicted, list) and "args" in evicted else self.args
        new = effects.get("arg")
        if before is not self.args or isinstance(new, dict):
            new = new if isinstance(new, dict) else {}
            # the newest last, as the node keeps them; one that is too long is forgotten, not cut
            self.args = args_of({**{name: text for name, text in before.items() if name not in new}, **new})
            self.unsaved = True

    def row(self, *changed: str) -> dict[str, Any]:
        """The fields of the store's operation `node`: the name and those that have changed, all without any given.

        A write about many nodes names them, as facts are large.
        """
        return {name: getattr(self, name) for name in (("name", *changed) if changed else STORED)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> NodeRecord:
        """The node of a row of the store's query `nodes`."""
        return cls(**{"key": "", **{name: row[name] for name in STORED if row[name]}})


#: Queues the header and the payload of a message for a node; False when the message surely was not delivered.
Send = Callable[[NodeRecord, bytes, "tuple[bytes, ...]"], bool]

#: Handles one kind of message of a node: its fields and its payload. May raise ProtocolError.
Handler = Callable[[NodeRecord, "dict[str, Any]", bytes], None]


class Roster:
    """All nodes by name, by key and by connection; a `RosterView` for targets."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeRecord] = {}
        self.by_key: dict[str, NodeRecord] = {}
        self.by_peer: dict[bytes, NodeRecord] = {}

    def add(self, record: NodeRecord) -> None:
        """Add a node; it replaces a node of the same name with another key."""
        if record.name in self.nodes:
            self.remove(record.name)
        self.nodes[record.name] = record
        self.by_key[record.key] = record
        self.expect(record, record.next_key)

    def remove(self, name: str) -> None:
        """Forget a node."""
        record = self.nodes.pop(name)
        self.expect(record, "")
        self.by_key.pop(record.key, None)
        self.detach(record)

    def expect(self, record: NodeRecord, key: str) -> None:
        """Let the node have this key beside its own one, in place of another such key."""
        self.by_key.pop(record.next_key, None)
        record.next_key = key
        if keys.is_key(key):
            self.by_key[key] = record

    def promote(self, record: NodeRecord) -> None:
        """Make the node's next key its only one."""
        self.by_key.pop(record.key, None)
        record.key, record.next_key = record.next_key, ""
        self.detach(record)

    def attach(self, record: NodeRecord, peer: bytes) -> None:
        """Make `peer` the node's connection."""
        self.detach(record)
        record.peer, record.last_peer = peer, None
        self.by_peer[peer] = record

    def detach(self, record: NodeRecord) -> None:
        """Forget the node's connection."""
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

    def revoked(self, name: str) -> bool:
        """Whether the key of the node of this name was revoked."""
        return name in self.nodes and self.nodes[name].revoked

    def online(self, name: str) -> bool:
        """Whether the node is online."""
        return self.nodes[name].online

    def labels(self, name: str) -> Mapping[str, str]:
        """The node's labels."""
        return self.nodes[name].labels

    def facts(self, name: str) -> Mapping[str, Any]:
        """The node's facts, parsed at each call."""
        facts: Mapping[str, Any] = ujson.loads(self.nodes[name].facts)
        return facts


def args_of(value: Any) -> dict[str, str]:
    """Remembered ARGs within their bounds; the first ones are left out when there are too many."""
    found: dict[str, str] = {}
    size = 0
    for name, text in reversed(list(value.items())) if isinstance(value, dict) else ():
        size += len(name) + len(text) if isinstance(text, str) else 0
        if len(found) >= ARGS_LIMIT or size > ARGS_BYTES:
            break
        if isinstance(text, str) and len(name) <= NAME_LIMIT and len(text) <= ARG_LIMIT:
            found[name] = text
    return dict(reversed(found.items()))


def shallow(facts: Any) -> dict[str, Any]:
    """Facts as a node reports them; none of what is no object, or is nested too deep to be a part of an answer."""
    return facts if isinstance(facts, dict) and messages.is_shallow(facts) else {}
