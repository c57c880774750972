"""Dry runs: asks the nodes of a plan what each of its steps would do there (`--plan`), for a few seconds."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ujson
from gevent.event import Event

from director.errors import ProtocolError
from director.protocol import messages
from director.runtime.greenlets import breathe
from director.server.dry_run_parts import Parts
from director.server.open_jobs import own_args
from director.server.roster import NodeRecord, Roster, Send
from director.server.value_queries import gather
from director.transfer.blobs import BlobStore

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that nodes have to answer
ASKED_LIMIT = 2000  # nodes of one plan
QUESTION_LIMIT = 32 * 1024 * 1024  # bytes of steps
TEXTS_LIMIT = 32 * 1024 * 1024  # characters of texts and diffs in one plan
REASON_LIMIT = 500  # characters
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
        found = {"node": node, "action": row[1], "reason": row[2][:REASON_LIMIT]}
        self._left -= len(row[3]) + len(row[4])
        if self._left > 0:
            found.update((name, text) for name, text in (("rendered", row[3]), ("diff", row[4])) if text)
        return found


@dataclass(slots=True)
class _Question:
    """The messages `dry_run` about one plan, and the answers to them.

    Attributes:
        parts: the steps of each node, with their contents.
        own: node to the contents that it has for itself.
        fields: head and names to watch, of which a node is told those of its own steps.
        values: what QUERY would find: name to node to value.
        left: nodes that have not answered.
    """

    parts: Parts
    own: Mapping[str, dict[str, bytes]]
    fields: dict[str, Any]
    values: dict[str, dict[str, Any]]
    result: DryRunResult
    left: set[str] = field(default_factory=set)
    done: Event = field(default_factory=Event)

    def message(self, node: str, number: int) -> list[bytes]:
        """The message to this node: its steps, and the contents, values and names that these need."""
        part = self.parts.of(node)
        contents = {**part.contents, **self.own[node]}
        query = {name: self.values[name] for name in part.names}
        ranges = self.parts.ranges[node]
        head = own_args(self.fields["head"], self.parts.meta, lambda first, last: any(
            low <= last and first <= high for low, high in ranges
        ))  # fmt: skip
        watch = [name for name in self.fields["watch"] if part.may_set(name)]
        fields = {"head": head, "watch": watch, "parts": ranges, "query": query, "contents": list(contents)}
        return [messages.encode("dry_run", req=number, **fields), part.steps, *contents.values()]


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
            head: name, kind and options of the job, as with the first slice.
        """
        deadline = time.monotonic() + PATIENCE
        result, parts = DryRunResult(), Parts(meta, chunks, self._blobs)
        reachable, names = self._reachable(parts.ranges, result), parts.names
        if sum(map(len, chunks)) > QUESTION_LIMIT:
            result.errors.update(dict.fromkeys(reachable, "the plan is too large to ask the nodes"))
            return result
        others = (name for spec in meta.get("exchange", {}).values() for name in spec.get("others", ()))
        nodes = dict.fromkeys((*parts.ranges, *others))
        values = {name: gather(self._roster, nodes, name) for name in names}
        own = {name: parts.own(name) for name in reachable}
        question = _Question(parts, own, {"head": head, "watch": sorted(names)}, values, result)
        self._ask(question, deadline)
        question.values = {name: gather(self._roster, nodes, name, result.sets) for name in names}
        if values != question.values:  # the plan itself sets values that its QUERY steps read
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
            result.errors[record.name] = fields["error"][:REASON_LIMIT]
        else:
            result.rows[record.name] = rows
            sets = fields["sets"].items()
            result.sets[record.name] = {str(k): v for k, v in sets if v is None or isinstance(v, str)}
        if not question.left:
            question.done.set()

    # -- inside -------------------------------------------------------------------------------------------

    def _reachable(self, parts: Collection[str], result: DryRunResult) -> list[str]:
        """The nodes that can be asked."""
        online = []
        for name in parts:
            record = self._roster.nodes.get(name)
            if record is not None and record.online and not record.quarantine:
                online.append(name)
            else:
                result.errors[name] = record.quarantine if record is not None and record.online else "offline"
        result.errors.update(dict.fromkeys(online[ASKED_LIMIT:], f"not asked: more than {ASKED_LIMIT} nodes"))
        return online[:ASKED_LIMIT]

    def _ask(self, question: _Question, deadline: float) -> None:
        number, errors = next(self._numbers), question.result.errors
        question.left.update(question.own)
        question.done.clear()
        self._open[number] = question
        try:
            for name in question.own:
                record, (header, *frames) = self._roster.nodes.get(name), question.message(name, number)
                if len(header) > messages.HEADER_LIMIT:
                    errors[name] = "the plan is too large to ask this node"
                    question.left.discard(name)
                elif record is None or not self._send(record, header, tuple(frames)):
                    errors[name] = "offline"
                    question.left.discard(name)
                breathe()
            if question.left:
                question.done.wait(max(0.0, deadline - time.monotonic()))
        finally:
            del self._open[number]
        errors.update(dict.fromkeys(question.left, f"did not answer within {PATIENCE:g} s"))


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
