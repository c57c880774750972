"""Dry runs: asks the nodes of a plan what each of its steps would do there (`--plan`), for a few seconds."""

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

PATIENCE = 5.0  # seconds that nodes have to answer
ASKED_LIMIT = 2000  # nodes of one plan
CONTENT_LIMIT = 64 * 1024  # bytes of a blob that is sent with the question
CONTENTS_LIMIT = 4 * 1024 * 1024  # bytes of all these blobs
QUESTION_LIMIT = 32 * 1024 * 1024  # bytes of steps
TEXTS_LIMIT = 32 * 1024 * 1024  # characters of texts and diffs in one plan
ACTIONS = frozenset(("run", "cached", "unknown"))
Values = dict[str, dict[str, Any]]  # name to node to value; None when only a run can determine it
Row = list[Any]


@dataclass(slots=True)
class _Round:
    """The answers to one question; `left` are the nodes that have not answered."""

    left: set[str]
    done: Event = field(default_factory=Event)
    rows: dict[str, dict[int, Row]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    sets: dict[str, dict[str, str | None]] = field(default_factory=dict)


class DryRun:
    """Sends `dry_run` and handles `dry_run_result`.

    Args:
        send: queues a message for a node; False when it has no connection.
        blobs: of the server.
    """

    def __init__(self, roster: Roster, send: Send, blobs: BlobStore) -> None:
        self._roster, self._send, self._blobs = roster, send, blobs
        self._numbers = itertools.count(1)
        self._open: dict[int, _Round] = {}  # by the number of the question

    def look(self, meta: Mapping[str, Any], chunks: Sequence[bytes], head: Mapping[str, Any]) -> DryRunResult:
        """What each node answers about its steps; takes up to 1.5 times `PATIENCE` seconds.

        Args:
            meta: of the plan.
            chunks: its encoded steps.
            head: name, kind, options and stage names of the job, as with the first slice.
        """
        parts = parts_of(meta)
        names, manifests = _asks(meta, chunks)
        contents = self._contents(meta.get("digests", {}), manifests)
        result = DryRunResult()
        nodes = self._reachable(parts, result)
        if sum(map(len, chunks)) > QUESTION_LIMIT:
            result.errors.update(dict.fromkeys(nodes, "the plan is too large to ask the nodes"))
            return result
        deadline = time.monotonic() + PATIENCE
        nodes_read = [*parts, *(name for spec in meta.get("exchange", {}).values() for name in spec.get("others", ()))]
        values = self._values(names, nodes_read, {})
        question = _Question(head, parts, chunks, contents, sorted(names), values)
        result.take(self._ask(nodes, question, deadline))
        values = self._values(names, nodes_read, result.sets)
        if values != question.values:  # the plan itself sets values that its QUERY steps read
            question.values = values
            result.take(self._ask(nodes, question, max(deadline, time.monotonic() + PATIENCE / 2)))
        return result

    def take(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Handle `dry_run_result`; an answer that came too late is dropped. Raises ProtocolError: malformed rows."""
        answers = self._open.get(fields["req"])
        if answers is None or record.name not in answers.left:
            return
        rows = _checked(payload or b"[]")
        answers.left.discard(record.name)
        if fields["error"]:
            answers.errors[record.name] = fields["error"][:500]
        else:
            answers.rows[record.name] = rows
            sets = fields["sets"].items()
            answers.sets[record.name] = {str(k): v for k, v in sets if v is None or isinstance(v, str)}
        if not answers.left:
            answers.done.set()

    # -- inside -------------------------------------------------------------------------------------------

    def _reachable(self, parts: Mapping[str, Any], result: DryRunResult) -> list[str]:
        nodes: list[str] = []
        for name in parts:
            record = self._roster.nodes.get(name)
            if record is None or not record.online:
                result.errors[name] = "offline"
            elif len(nodes) >= ASKED_LIMIT:
                result.errors[name] = f"not asked: more than {ASKED_LIMIT} nodes"
            else:
                nodes.append(name)
        return nodes

    def _ask(self, nodes: Sequence[str], question: _Question, deadline: float) -> _Round:
        number = next(self._numbers)
        answers = self._open[number] = _Round(set(nodes))
        try:
            for name in nodes:
                record = self._roster.nodes.get(name)
                header = question.header(number, name)
                if len(header) > messages.HEADER_LIMIT:
                    answers.errors[name] = "the plan is too large to ask this node"
                elif record is None or not self._send(record, header, question.frames):
                    answers.errors[name] = "offline"
                breathe()
            answers.left.difference_update(answers.errors)
            if answers.left:
                answers.done.wait(max(0.0, deadline - time.monotonic()))
        finally:
            del self._open[number]
        answers.errors.update(dict.fromkeys(answers.left, f"did not answer within {PATIENCE:g} s"))
        return answers

    def _values(
        self, names: Iterable[str], nodes: Sequence[str], sets: Mapping[str, Mapping[str, str | None]]
    ) -> Values:
        """What QUERY would read for each name: values that the plan sets, else remembered ARGs, else facts."""
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


class DryRunResult:
    """What the nodes answered.

    Attributes:
        rows: node to step to `[step, action, reason, text, diff]`.
        errors: why nothing is known of a node.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Row]] = {}
        self.errors: dict[str, str] = {}
        self.sets: dict[str, dict[str, str | None]] = {}
        self._left = TEXTS_LIMIT

    def take(self, answers: _Round) -> None:
        """Add the answers to one question; they replace the node's earlier ones."""
        self.rows.update(answers.rows)
        self.sets.update(answers.sets)
        for name, error in answers.errors.items():
            if name not in self.rows:
                self.errors[name] = error

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


class _Question:
    """The message `dry_run`, which differs between nodes only in their step ranges."""

    def __init__(
        self, head: Mapping[str, Any], parts: Mapping[str, list[list[int]]], chunks: Sequence[bytes],
        contents: Mapping[str, bytes], names: list[str], values: Values,
    ) -> None:  # fmt: skip
        self.values = values
        self.frames = (*chunks, *contents.values())
        self._head, self._parts, self._names = head, parts, names
        self._chunks, self._contents = len(chunks), list(contents)

    def header(self, number: int, node: str) -> bytes:
        """The first part of the message for one node."""
        return messages.encode(
            "dry_run", req=number, head=self._head, parts=self._parts[node], query=self.values, watch=self._names,
            chunks=self._chunks, contents=self._contents,
        )  # fmt: skip


def parts_of(meta: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    """For each node the ranges of its steps, as `[first, last]`."""
    parts: dict[str, list[list[int]]] = {}
    for block in meta["blocks"]:
        nodes = meta["stages"][block["stage"]]["nodes"] if block.get("nodes") is None else block["nodes"]
        for name in nodes:
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
