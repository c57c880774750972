"""Dry runs: asks the nodes of a plan what each of its steps would do there (`--plan`), for a few seconds."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ujson
from gevent.event import Event

from director.errors import ProtocolError
from director.protocol import messages
from director.runtime.greenlets import breathe
from director.scheduler.blocks import nodes_of
from director.server.roster import NodeRecord, Roster, Send
from director.server.value_queries import gather
from director.transfer.blob_lists import is_list
from director.transfer.blobs import BlobStore

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that nodes have to answer
ASKED_LIMIT = 2000  # nodes of one plan
CONTENT_LIMIT = 64 * 1024  # bytes of a blob that is sent with the question
CONTENTS_LIMIT = 4 * 1024 * 1024  # bytes of all these blobs
QUESTION_LIMIT = 32 * 1024 * 1024  # bytes of steps
TEXTS_LIMIT = 32 * 1024 * 1024  # characters of texts and diffs in one plan
ACTIONS = frozenset(("run", "cached", "unknown"))
Row = list[Any]


class DryRunResult:
    """What the nodes answered.

    Attributes:
        rows: node to step to `[step, action, reason, text, diff]`.
        errors: why nothing is known of a node.
        sets: node to the values that its steps would set, None where only a run can determine one.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Row]] = {}
        self.errors: dict[str, str] = {}
        self.sets: dict[str, dict[str, str | None]] = {}
        self._left = TEXTS_LIMIT

    def of(self, node: str, step: int) -> dict[str, Any]:
        """One node of one step for the output of `--plan`."""
        row = self.rows.get(node, {}).get(step)
        if row is None:
            return {"node": node, "action": "unknown", "reason": self.errors.get(node, "the node did not say")}
        found = {"node": node, "action": row[1], "reason": row[2]}
        self._left -= len(row[3]) + len(row[4])
        if self._left > 0:
            found.update((name, text) for name, text in (("rendered", row[3]), ("diff", row[4])) if text)
        return found


@dataclass(slots=True)
class _Question:
    """A message `dry_run`, and the answers to it.

    Attributes:
        parts: node to its step ranges; all else is the same for every node.
        left: nodes that have not answered.
    """

    parts: Mapping[str, list[list[int]]]
    fields: dict[str, Any]
    frames: tuple[bytes, ...]
    result: DryRunResult
    left: set[str] = field(default_factory=set)
    done: Event = field(default_factory=Event)


class DryRun:
    """Sends `dry_run` and handles `dry_run_result`.

    Args:
        send: queues a message for a node; False when it has no connection.
        blobs: of the server.
    """

    def __init__(self, roster: Roster, send: Send, blobs: BlobStore) -> None:
        self._roster, self._send, self._blobs = roster, send, blobs
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}

    def look(self, meta: Mapping[str, Any], chunks: Sequence[bytes], head: Mapping[str, Any]) -> DryRunResult:
        """What each node answers about its steps; takes up to 1.5 times `PATIENCE` seconds.

        Args:
            meta: of the plan.
            chunks: its encoded steps.
            head: name, kind, options and stage names of the job, as with the first slice.
        """
        deadline = time.monotonic() + PATIENCE
        names, manifests = _asks(meta, chunks)
        contents = self._contents(meta.get("digests", {}), manifests)
        result, parts = DryRunResult(), parts_of(meta)
        reachable = self._reachable(parts, result)
        if sum(map(len, chunks)) > QUESTION_LIMIT:
            result.errors.update(dict.fromkeys(reachable, "the plan is too large to ask the nodes"))
            return result
        fields = {"head": head, "watch": sorted(names), "chunks": len(chunks), "contents": list(contents)}
        question = _Question(reachable, fields, (*chunks, *contents.values()), result)
        others = (name for spec in meta.get("exchange", {}).values() for name in spec.get("others", ()))
        nodes = dict.fromkeys((*parts, *others))
        fields["query"] = {name: gather(self._roster, nodes, name) for name in names}
        self._ask(question, deadline)
        values = {name: gather(self._roster, nodes, name, result.sets) for name in names}
        if values != fields["query"]:  # the plan itself sets values that its QUERY steps read
            fields["query"] = values
            self._ask(question, max(deadline, time.monotonic() + PATIENCE / 2))
        return result

    def take(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Handle `dry_run_result`; an answer that came too late is dropped. Raises ProtocolError: malformed rows."""
        question = self._open.get(fields["req"])
        if question is None or record.name not in question.left:
            return
        rows, result = _checked(payload or b"[]"), question.result
        question.left.discard(record.name)
        if fields["error"]:
            result.errors[record.name] = fields["error"][:500]
        else:
            result.rows[record.name] = rows
            sets = fields["sets"].items()
            result.sets[record.name] = {str(k): v for k, v in sets if v is None or isinstance(v, str)}
        if not question.left:
            question.done.set()

    # -- inside -------------------------------------------------------------------------------------------

    def _reachable(self, parts: dict[str, list[list[int]]], result: DryRunResult) -> dict[str, list[list[int]]]:
        """The part of `parts` whose nodes can be asked."""
        online = [name for name in parts if name in self._roster.nodes and self._roster.online(name)]
        result.errors.update(dict.fromkeys(parts.keys() - set(online), "offline"))
        result.errors.update(dict.fromkeys(online[ASKED_LIMIT:], f"not asked: more than {ASKED_LIMIT} nodes"))
        return {name: parts[name] for name in online[:ASKED_LIMIT]}

    def _ask(self, question: _Question, deadline: float) -> None:
        number, errors = next(self._numbers), question.result.errors
        question.left.update(question.parts)
        question.done.clear()
        self._open[number] = question
        try:
            for name, parts in question.parts.items():
                record = self._roster.nodes.get(name)
                header = messages.encode("dry_run", req=number, parts=parts, **question.fields)
                if len(header) > messages.HEADER_LIMIT:
                    errors[name] = "the plan is too large to ask this node"
                    question.left.discard(name)
                elif record is None or not self._send(record, header, question.frames):
                    errors[name] = "offline"
                    question.left.discard(name)
                breathe()
            if question.left:
                question.done.wait(max(0.0, deadline - time.monotonic()))
        finally:
            del self._open[number]
        errors.update(dict.fromkeys(question.left, f"did not answer within {PATIENCE:g} s"))

    def _contents(self, digests: Mapping[str, int], manifests: set[str]) -> dict[str, bytes]:
        """The manifests and small blobs that the nodes need to compare files, by digest."""
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
                log.warning("a blob of a plan cannot be read: %s", error)
            left -= size
        return found


def parts_of(meta: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    """For each node the ranges of its steps, as `[first, last]`."""
    parts: dict[str, list[list[int]]] = {}
    for block in meta["blocks"]:
        for name in nodes_of(meta, block):
            parts.setdefault(name, []).append([block["first"], block["last"]])
    return parts


def steps_of(chunks: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """The decoded steps; other greenlets get a turn after each chunk."""
    for chunk in chunks:
        yield from ujson.loads(chunk)
        breathe()


def _asks(meta: Mapping[str, Any], chunks: Sequence[bytes]) -> tuple[set[str], set[str]]:
    """The names that QUERY steps read, and the digests of manifests."""
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
                raise ValueError(row)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise ProtocolError("malformed rows of a dry run") from error
    return rows
