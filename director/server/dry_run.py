"""Asks the nodes of a plan what it would do there (`--plan`); nothing is run, and nobody is waited for long."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ujson
from gevent.event import Event

from director.errors import ProtocolError
from director.protocol import messages
from director.runtime.greenlets import breathe
from director.server.roster import NodeRecord, Roster, Send
from director.server.value_queries import value_of
from director.transfer.blob_lists import is_list
from director.transfer.blobs import BlobStore

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds in which nodes must answer
ASKED_LIMIT = 2000  # nodes of one plan
CONTENT_LIMIT = 64 * 1024  # bytes of a file that travels with the question
CONTENTS_LIMIT = 4 * 1024 * 1024  # bytes of all of them
QUESTION_LIMIT = 32 * 1024 * 1024  # bytes of steps
TEXTS_LIMIT = 32 * 1024 * 1024  # characters of texts and diffs in one plan
ACTIONS = frozenset(("run", "cached", "unknown"))
Values = dict[str, dict[str, Any]]  # name to node to value; None: only the run can tell
Row = list[Any]


@dataclass(slots=True)
class _Asked:
    """One round: what came back, and who is still asked."""

    left: set[str]
    done: Event = field(default_factory=Event)
    rows: dict[str, dict[int, Row]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    sets: dict[str, dict[str, str | None]] = field(default_factory=dict)


class DryRun:
    """Questions that are open, by number.

    Args:
        send: gives a message to a node; False when it has no connection.
        blobs: the server's contents.
    """

    def __init__(self, roster: Roster, send: Send, blobs: BlobStore) -> None:
        self._roster, self._send, self._blobs = roster, send, blobs
        self._numbers = itertools.count(1)
        self._open: dict[int, _Asked] = {}

    def look(self, meta: Mapping[str, Any], chunks: Sequence[bytes], head: Mapping[str, Any]) -> DryRunResult:
        """What each node says of its steps, within `PATIENCE` seconds."""
        parts = parts_of(meta)
        names, manifests = _asks(meta, chunks)
        contents = self._contents(meta.get("digests", {}), manifests)
        outlook = DryRunResult()
        nodes = self._reachable(parts, outlook)
        if sum(map(len, chunks)) > QUESTION_LIMIT:
            outlook.errors.update(dict.fromkeys(nodes, "the plan is too large to ask the nodes"))
            return outlook
        deadline = time.monotonic() + PATIENCE
        nodes_read = [*parts, *(name for spec in meta.get("exchange", {}).values() for name in spec.get("others", ()))]
        values = self._values(names, nodes_read, {})
        question = _Question(head, parts, chunks, contents, sorted(names), values)
        outlook.take(self._ask(nodes, question, deadline))
        values = self._values(names, nodes_read, outlook.sets)
        if values != question.values:  # the plan itself sets what QUERY asks for
            question.values = values
            outlook.take(self._ask(nodes, question, max(deadline, time.monotonic() + PATIENCE / 2)))
        return outlook

    def take(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Handle `dry_run_result`; an answer that came too late is dropped. Raises ProtocolError: malformed rows."""
        asked = self._open.get(fields["req"])
        if asked is None or record.name not in asked.left:
            return
        rows = _checked(payload or b"[]")
        asked.left.discard(record.name)
        if fields["error"]:
            asked.errors[record.name] = fields["error"][:500]
        else:
            asked.rows[record.name] = rows
            sets = fields["sets"].items()
            asked.sets[record.name] = {str(k): v for k, v in sets if v is None or isinstance(v, str)}
        if not asked.left:
            asked.done.set()

    # -- inside -------------------------------------------------------------------------------------------

    def _reachable(self, parts: Mapping[str, Any], outlook: DryRunResult) -> list[str]:
        nodes: list[str] = []
        for name in parts:
            record = self._roster.nodes.get(name)
            if record is None or not record.online:
                outlook.errors[name] = "offline"
            elif len(nodes) >= ASKED_LIMIT:
                outlook.errors[name] = f"not asked: more than {ASKED_LIMIT} nodes"
            else:
                nodes.append(name)
        return nodes

    def _ask(self, nodes: Sequence[str], question: _Question, deadline: float) -> _Asked:
        number = next(self._numbers)
        asked = self._open[number] = _Asked(set(nodes))
        try:
            for name in nodes:
                record = self._roster.nodes.get(name)
                header = question.header(number, name)
                if len(header) > messages.HEADER_LIMIT:
                    asked.errors[name] = "the plan is too large to ask this node"
                elif record is None or not self._send(record, header, question.frames):
                    asked.errors[name] = "offline"
                breathe()
            asked.left.difference_update(asked.errors)
            if asked.left:
                asked.done.wait(max(0.0, deadline - time.monotonic()))
        finally:
            del self._open[number]
        asked.errors.update(dict.fromkeys(asked.left, f"did not answer within {PATIENCE:g} s"))
        return asked

    def _values(
        self, names: Iterable[str], nodes: Sequence[str], sets: Mapping[str, Mapping[str, str | None]]
    ) -> Values:
        """What QUERY would give for each name: what the plan sets, else what the nodes remember, else their facts."""
        found: Values = {}
        for name in names:
            values = found[name] = {}
            for number, node in enumerate(dict.fromkeys(nodes)):
                record = self._roster.nodes.get(node)
                value = value_of(record, name) if record is not None else None
                if name in sets.get(node, {}):
                    values[node] = sets[node][name]
                elif value is not None:
                    values[node] = value
                if number % 200 == 199:
                    breathe()
        return found

    def _contents(self, digests: Mapping[str, int], manifests: set[str]) -> dict[str, bytes]:
        """The small contents, and lists of files, that the nodes need to compare."""
        found: dict[str, bytes] = {}
        left = CONTENTS_LIMIT
        one_by_one = [digest for digest in digests if not is_list(digest)]
        for digest in sorted(one_by_one, key=lambda one: (one not in manifests, digests[one])):
            size = digests[digest]
            if size > left or (size > CONTENT_LIMIT and digest not in manifests):
                continue
            if len(found) >= 1000:
                break
            try:
                with open(self._blobs.path(digest), "rb") as file:
                    found[digest] = file.read()
            except OSError as error:
                log.warning("a content of a plan cannot be read: %s", error)
            left -= size
        return found


class DryRunResult:
    """What the nodes said.

    Attributes:
        rows: node to step to `[step, action, reason, text, diff]`.
        errors: why nothing is known of a node.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Row]] = {}
        self.errors: dict[str, str] = {}
        self.sets: dict[str, dict[str, str | None]] = {}
        self._left = TEXTS_LIMIT

    def take(self, asked: _Asked) -> None:
        """The answers of one round; they stand in place of those of the one before."""
        self.rows.update(asked.rows)
        self.sets.update(asked.sets)
        for name, error in asked.errors.items():
            if name not in self.rows:
                self.errors[name] = error

    def of(self, node: str, step: int) -> dict[str, Any]:
        """One node of one step, as `--plan` shows it."""
        row = self.rows.get(node, {}).get(step)
        if row is None:
            return {"node": node, "action": "unknown", "reason": self.errors.get(node, "the node did not say")}
        found = {"node": node, "action": row[1], "reason": row[2]}
        self._left -= len(row[3]) + len(row[4])
        if self._left > 0:
            found.update((name, text) for name, text in (("rendered", row[3]), ("diff", row[4])) if text)
        return found


class _Question:
    """What every node is asked, but for its own steps."""

    def __init__(
        self, head: Mapping[str, Any], parts: Mapping[str, list[list[int]]], chunks: Sequence[bytes],
        contents: Mapping[str, bytes], names: list[str], values: Values,
    ) -> None:  # fmt: skip
        self.values = values
        self.frames = (*chunks, *contents.values())
        self._head, self._parts, self._names = head, parts, names
        self._chunks, self._contents = len(chunks), list(contents)

    def header(self, number: int, node: str) -> bytes:
        """The first frame for one node."""
        return messages.encode(
            "dry_run", req=number, head=self._head, parts=self._parts[node], query=self.values, watch=self._names,
            chunks=self._chunks, contents=self._contents,
        )  # fmt: skip


def parts_of(meta: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    """For each node the ranges of its steps."""
    parts: dict[str, list[list[int]]] = {}
    for block in meta["blocks"]:
        nodes = meta["stages"][block["stage"]]["nodes"] if block.get("nodes") is None else block["nodes"]
        for name in nodes:
            parts.setdefault(name, []).append([block["first"], block["last"]])
    return parts


def steps_of(chunks: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """The steps, with a pause for others after each chunk."""
    for chunk in chunks:
        yield from ujson.loads(chunk)
        breathe()


def _asks(meta: Mapping[str, Any], chunks: Sequence[bytes]) -> tuple[set[str], set[str]]:
    """The names that QUERY asks for, and the digests of lists of files."""
    queries = {int(step) for step, spec in meta.get("exchange", {}).items() if spec["kind"] == "query"}
    names, manifests = set(), set()
    for step in steps_of(chunks):
        body = step["body"]
        if step["i"] in queries:
            names.add(body["name"])
        for place in (body, body.get("per_node") or {}, *(body.get("per_node") or {}).get("sets", ())):
            if "manifest" in place:
                manifests.add(place["manifest"]["digest"])
    return names, manifests


def _checked(payload: bytes) -> dict[int, Row]:
    try:
        rows = {row[0]: row for row in ujson.loads(payload)}
        for row in rows.values():
            step, action, *texts = row
            if not isinstance(step, int) or action not in ACTIONS or list(map(type, texts)) != [str, str, str]:
                raise ProtocolError("foreseen rows of a strange shape")
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise ProtocolError("foreseen rows of a strange shape") from error
    return rows
