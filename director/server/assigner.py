"""Decides which steps each node gets next, and has the ledger record that before they are sent."""

from __future__ import annotations

import logging
import time
from itertools import groupby

from director.protocol.messages import STEPS_PER_CHUNK
from director.runtime.greenlets import breathe, spawn
from director.scheduler import windows
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun
from director.server.dispatcher import AT_ONCE, Dispatcher, Slice
from director.server.ledger_client import LedgerClient
from director.server.open_jobs import OpenJobs

log = logging.getLogger(__name__)

TURN = 0.005  # seconds of work before other greenlets get a turn
BATCH = 500  # slices recorded at once


class Assigner:
    """Works through the nodes that may get more steps."""

    def __init__(self, jobs: OpenJobs, dispatcher: Dispatcher, ledger: LedgerClient) -> None:
        self._jobs, self._dispatcher, self._ledger = jobs, dispatcher, ledger
        spawn("assigner", self._run, vital=True)

    def assign(self, run: JobRun, node: NodeRun) -> list[Slice]:
        """What the node gets of the job now; it counts as sent from here on. Nothing when the node is offline."""
        record = self._jobs.online(node.node)
        if record is None:
            return []
        room = windows.room_for(node, len(record.jobs))
        if room <= 0:
            windows.starve(node.load, run.id)
        ranges = windows.next_ranges(run, node, room)
        if not ranges:
            return []
        run.hand_out(node, ranges[-1].last + 1)
        node.sent_at = time.monotonic()
        by_chunk = groupby(ranges, lambda steps: steps.first // STEPS_PER_CHUNK)
        return [Slice(run, node, chunk, list(found), node.epoch) for chunk, found in by_chunk]

    def _run(self) -> None:
        while True:
            self._jobs.due.wait()
            slices: list[Slice] = []
            until = time.monotonic() + TURN
            while self._jobs.due and time.monotonic() < until and len(slices) < BATCH:
                job, names = self._jobs.due.take(AT_ONCE)
                run = self._jobs.runs.get(job)
                if run is not None and job not in self._jobs.accepting:
                    for name in names:
                        slices += self._consider(run, name)
            if slices:
                self._record(slices)
            breathe()

    def _consider(self, run: JobRun, name: str) -> list[Slice]:
        node = run.nodes.get(name)
        try:
            return self.assign(run, node) if node is not None and node.open else []
        except Exception:
            log.exception("steps of job %s for %s could not be chosen", run.id, name)
            return []

    def _record(self, slices: list[Slice]) -> None:
        cursors: dict[str, dict[str, int]] = {}
        for item in slices:
            cursors.setdefault(item.run.id, {})[item.node.node] = item.node.cursor
        self._ledger.write(
            *(("cursors", {"job": job, "cursors": found}) for job, found in cursors.items()),
            then=lambda error: self._dispatcher.dispatch(slices),
        )
