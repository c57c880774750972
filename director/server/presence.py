"""Open tasks of nodes that come back, stay offline for too long, or are gone for good."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from director import states as st
from director.protocol.sealing import FORMER
from director.scheduler import ends
from director.scheduler.job_state import JobRun, RangeEnd
from director.scheduler.node_run import NodeRun
from director.scheduler.secret_steps import steps_of
from director.server.ledger_client import LedgerClient
from director.server.lifecycle import Lifecycle
from director.server.open_jobs import OpenJobs
from director.server.roster import NodeRecord, Roster

log = logging.getLogger(__name__)

LOOK_AGAIN = 60.0  # seconds until an offline node is checked again though nothing of it was due


class Presence:
    """Reconciles nodes at each hello; expires what was never sent to offline nodes, and loses what they hold.

    Args:
        lost_after: seconds of silence after which a node's tasks are lost.
    """

    def __init__(
        self, jobs: OpenJobs, roster: Roster, lifecycle: Lifecycle, ledger: LedgerClient, lost_after: float
    ) -> None:
        self._jobs, self._roster, self._lifecycle, self._ledger = jobs, roster, lifecycle, ledger
        self._lost_after = lost_after
        self._started = time.monotonic()

    def reconcile(self, record: NodeRecord, cursors: Mapping[str, int], lost: str) -> dict[str, Any]:
        """Compare, and decide for each job that the node holds.

        Args:
            cursors: job to the node's cursor.
            lost: why everything that it was sent is lost, "" when it is not.

        Returns:
            Job to `{"act": "go" | "drop" | "cancel", "open": tasks that the node is to end}`.
        """
        record.due = 0.0
        for job, node in list(record.jobs.items()):
            run = self._jobs.runs[job]
            cursor = cursors.get(job, 0)
            forgot = st.RUNNING in node.states[cursor : node.cursor]
            if lost or forgot:
                why = lost or "the node does not know steps that it had begun"
                self._jobs.record_ends(run, ends.lose(run, node, why))
            elif cursor < node.cursor:
                log.debug("%s never got tasks of %s that were sent", record.name, job)
                self._lifecycle.take_back(run, node, cursor)
            else:
                self._catch_up(run, node, cursor)
            node.chunk = -1
            self._lifecycle.update(run)
        return {job: self._order(record, job) for job in cursors}

    def online(self, record: NodeRecord) -> None:
        """The session has begun: the node may get what waits for it."""
        for job in record.jobs:
            self._jobs.due.add(job, record.name)

    def tick(self, now: float) -> None:
        """End what is due at `now`, in monotonic seconds."""
        for record in list(self._roster.nodes.values()):
            if record.jobs and not record.online and now >= record.due:
                self._check(record, now)

    def lose_all(self, record: NodeRecord, reason: str) -> None:
        """The node's present state folder is gone: what it holds is lost, what is queued stays so for its name."""
        for job, node in list(record.jobs.items()):
            run = self._jobs.runs[job]
            self._lifecycle.end(run, ends.lose(run, node, reason))

    def abandon(self, record: NodeRecord, reason: str) -> None:
        """The node is purged: none of its tasks stays open."""
        for job, node in list(record.jobs.items()):
            run = self._jobs.runs[job]
            self._lifecycle.end(run, ends.abandon(run, node, reason))

    def expire_sealed(self, record: NodeRecord) -> None:
        """The node has other keys than before: what was sealed for it and waits can never be opened."""
        for job, node in list(record.jobs.items()):
            run = self._jobs.runs[job]
            if any(node.states[step] == st.QUEUED for step in steps_of(run.meta)):
                self._lifecycle.end(run, ends.expire(run, node, FORMER))

    def end_sealed(self, run: JobRun, keys: Mapping[str, str]) -> None:
        """Expire the job on nodes whose key is another than the one that their box was sealed with."""
        for name, key in keys.items():
            record, node = self._roster.nodes.get(name), run.nodes.get(name)
            if record is not None and node is not None and record.sealing != key:
                self._lifecycle.end(run, ends.expire(run, node, FORMER))

    def end_strays(self, run: JobRun) -> None:
        """Abandon the job on nodes that were purged or revoked, as some were since its plan was made."""
        ended: list[RangeEnd] = []
        for node in run.nodes.values():
            record = self._roster.nodes.get(node.node)
            if record is None or record.revoked:
                why = record.reason if record else f"there is no node {node.node} any more"
                ended += ends.abandon(run, node, why)
        self._lifecycle.end(run, ended)

    def _catch_up(self, run: JobRun, node: NodeRun, cursor: int) -> None:
        """The node holds more than this ledger, an older one, knows of: it counts as sent, as far as a barrier."""
        cursor = min(cursor, run.barriers.limit)
        if cursor > node.cursor and not run.blocked:
            log.warning("%s has %d steps of job %s that this ledger does not know of", node.node,
                        cursor - node.cursor, run.id)  # fmt: skip
            run.hand_out(node, cursor)
            self._ledger.write(("cursors", {"job": run.id, "cursors": {node.node: cursor}}))

    def _order(self, record: NodeRecord, job: str) -> dict[str, Any]:
        node, run = record.jobs.get(job), self._jobs.runs.get(job)
        still_open = {"open": node.handed} if node is not None and node.handed else {}
        if run is not None and run.cancelled:
            return {"act": "cancel", "reason": run.cancelled, **still_open}
        return {"act": "drop"} if run is None or node is None else {"act": "go", **still_open}

    def _check(self, record: NodeRecord, now: float) -> None:
        """End what is due on an offline node, and note when to check it again: not each second for each job."""
        silence = now - max(record.heard or 0.0, self._started, record.back_by)
        record.due = now + LOOK_AGAIN
        for job, node in list(record.jobs.items()):
            run = self._jobs.runs[job]
            ended: list[RangeEnd] = []
            if st.QUEUED in node.states:
                offline = now - max(record.offline_since, run.since)
                if self._is_due(record, now, run.valid_for - offline):
                    why = f"the node was offline for longer than --valid-for ({run.valid_for:g} s)"
                    ended += ends.expire(run, node, why)
            if node.handed and self._is_due(record, now, self._lost_after - silence):
                why = f"the node was silent for longer than --lost-after ({self._lost_after:g} s)"
                ended += ends.lose(run, node, why)
            if ended:
                self._lifecycle.end(run, ended)

    def _is_due(self, record: NodeRecord, now: float, left: float) -> bool:
        if left > 0:
            record.due = min(record.due, now + left)
        return left <= 0
