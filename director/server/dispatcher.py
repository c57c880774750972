"""Steps on their way to nodes: what the ledger says may be sent goes out, a line for each job, each in its order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ujson

from director.errors import DirectorError
from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.scheduler.fair_queue import FairQueue
from director.scheduler.job_state import JobRun, NodeRun, StepRange
from director.server.chunk_cache import ChunkCache
from director.server.ledger_client import LedgerClient
from director.server.roster import Roster, Send

log = logging.getLogger(__name__)

AT_ONCE = 32  # nodes of one job before it is the turn of the next job
READ_AGAIN = 1.0  # seconds after which steps that could not be read are tried again


@dataclass(slots=True)
class Slice:
    """Steps that will be sent as soon as the ledger says that they may be."""

    run: JobRun
    node: NodeRun
    parts: list[StepRange] = field(default_factory=list)
    epoch: int = 0


class Dispatcher:
    """Sends steps with what they need.

    Args:
        runs: the open jobs, as their desk has them.
        send: queues a message for a node; False when it was surely not delivered.
        returned: told of a node's first step that was surely not delivered.
        started: told that steps of a job are on their way.
        again: asked to look at a node again, as its steps could not be read.
    """

    def __init__(
        self, ledger: LedgerClient, roster: Roster, runs: Mapping[str, JobRun], send: Send,
        returned: Callable[[JobRun, NodeRun, int], None], started: Callable[[JobRun], None],
        again: Callable[[JobRun, NodeRun], None],
    ) -> None:  # fmt: skip
        self.chunks = ChunkCache(ledger)
        self._ledger, self._roster, self._runs = ledger, roster, runs
        self._send, self._returned, self._started, self._again = send, returned, started, again
        self._heads: dict[str, bytes] = {}
        self._outgoing: FairQueue[Slice] = FairQueue()  # one line a job, so that its steps arrive in their order
        spawn("delivery", self._deliver_all, vital=True)

    def adopt(self, run: JobRun, row: Mapping[str, Any]) -> None:
        """An open job: what comes with the first steps of each node."""
        stages = [stage.get("name") or "" for stage in run.meta["stages"]]
        head = {"name": row["name"], "kind": row["kind"], "options": row["options"], "stages": stages}
        self._heads[run.id] = ujson.dumps(head).encode()

    def forget(self, job: str) -> None:
        """The job is over."""
        self._heads.pop(job, None)
        self.chunks.forget(job)

    def options(self, job: str) -> dict[str, Any]:
        """The options of an open job, as they were accepted."""
        options: dict[str, Any] = ujson.loads(self._heads[job])["options"]
        return options

    def give(self, hands: Sequence[Slice]) -> None:
        """They are durable: send them."""
        for hand in hands:
            self._outgoing.add(hand.run.id, hand)

    def _deliver_all(self) -> None:
        while True:
            self._outgoing.wait()
            self._deliver(self._outgoing.take(AT_ONCE)[1])
            breathe()

    def _deliver(self, hands: list[Slice]) -> None:
        for hand in hands:
            try:
                left = self._hand_over(hand)
                if left is not None:
                    self._returned(hand.run, hand.node, left)
            except Exception:
                log.exception("steps of job %s could not be handed to %s", hand.run.id, hand.node.node)

    def _hand_over(self, hand: Slice) -> int | None:
        """Send the parts; the first step that was surely not delivered, None when nothing is left to do."""
        run, node = hand.run, hand.node
        for number, parts in _chunked(hand.parts):
            try:
                chunk = self.chunks.get(run.id, number) if node.chunk < number else b""
                head = self._head(run, node.node) if node.chunk < 0 else b""
            except DirectorError as error:  # the ledger's process ended while it was asked
                log.warning("steps of job %s cannot be read now: %s", run.id, error)
                spawn("steps again", self._again, run, node, vital=False, after=READ_AGAIN)
                return parts[0][0] if hand.epoch == node.epoch else None
            if hand.epoch != node.epoch or self._runs.get(run.id) is not run:
                return None
            record = self._roster.nodes.get(node.node)
            if record is None or not record.online or run.cancelled:
                return parts[0][0]
            record.seq += 1
            header = messages.encode("slice", seq=record.seq, job=run.id, chunk=number, parts=parts)
            if not self._send(record, header, (chunk, head)):
                return parts[0][0]
            node.chunk = max(node.chunk, number)
        self._started(run)
        return None

    def _head(self, run: JobRun, name: str) -> bytes:
        """What comes with a node's first steps; of a resumed job also what its succeeded steps there had set."""
        head = self._heads.get(run.id, b"")
        if head and name in run.seeded:
            return b'%s,"seed":%s}' % (head[:-1], self._ledger.ask("seed", job=run.id, node=name))
        return head


def _chunked(parts: Sequence[StepRange]) -> list[tuple[int, list[tuple[int, int]]]]:
    chunks: dict[int, list[tuple[int, int]]] = {}
    for part in parts:
        chunks.setdefault(part.first // messages.STEPS_PER_CHUNK, []).append((part.first, part.last))
    return list(chunks.items())
