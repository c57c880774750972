"""What happens to a job as its tasks end: barriers open, run-once nodes are chosen, it ends, the next one starts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from gevent.event import Event

from director import states as st
from director.protocol import messages
from director.runtime.greenlets import spawn
from director.scheduler import choice, ends
from director.scheduler.job_state import JobRun, RangeEnd
from director.scheduler.node_run import NodeRun
from director.server.ledger_client import LedgerClient
from director.server.open_jobs import OpenJobs
from director.server.roster import Send
from director.server.run_once import RunOnce


class Lifecycle:
    """Moves open jobs on, cancels and finishes them."""

    def __init__(self, jobs: OpenJobs, run_once: RunOnce, ledger: LedgerClient, send: Send) -> None:
        self._jobs, self._run_once, self._ledger, self._send = jobs, run_once, ledger, send
        self._finishing: set[str] = set()
        self._final: dict[str, Event] = {}

    def update(self, run: JobRun) -> None:
        """Do what the job's changed tasks make possible."""
        if self._jobs.runs.get(run.id) is not run or run.id in self._jobs.accepting:
            return
        limit = run.barriers.limit
        run.barriers.open()
        if not run.blocked:
            self.choose(run)
        if run.barriers.limit != limit:
            self.wake(run)
        self._run_once.update(run)
        self._jobs.notify()
        if run.over and run.id not in self._finishing:
            self._finish(run)

    def end(self, run: JobRun, ended: Sequence[RangeEnd]) -> None:
        """Record ends, and do what they make possible."""
        self._jobs.record_ends(run, ended)
        self.update(run)

    def take_back(self, run: JobRun, node: NodeRun, cursor: int) -> None:
        """The steps from `cursor` on were surely not delivered: they are queued again, or end with the cancel."""
        self._jobs.attach(run, node)
        run.take_back(node, cursor)
        self._ledger.write(("cursors", {"job": run.id, "cursors": {node.node: cursor}}))
        if run.cancelled:
            self.end(run, ends.cancel_waiting(run, node))

    def choose(self, run: JobRun, every: bool = False) -> None:
        """Choose nodes for run-once steps whose stage has started; the ledger has the choice before the node."""
        before = run.total
        for node in choice.choose(run, self._jobs.ready, every):
            self._jobs.attach(run, node)
            self._jobs.due.add(run.id, node.node)
        if run.total != before:
            self._jobs.tasks += run.total - before
            self._ledger.write(("plan", {"id": run.id, "meta": run.meta}))

    def wake(self, run: JobRun) -> None:
        """Check soon what each node of the job may get."""
        for node in run.nodes.values():
            if node.open:
                self._jobs.due.add(run.id, node.node)

    def proceed(self, run: JobRun, state: str) -> None:
        """The job before this one ended in `state`: this one starts, or is cancelled for that reason."""
        if state == st.JOB_SUCCESS:
            run.blocked = False
            self.choose(run)
            self.wake(run)
        else:
            self.cancel(run.id, f"job {run.meta['after']} before it ended {state}")

    def cancel(self, job: str, reason: str) -> bool:
        """Order the end of a job; False when the job is not open.

        Returns when the order is on disk and was sent to the nodes. It is not on disk yet when the disk takes nothing:
        a job that fills it can be stopped.
        """
        while job in self._jobs.accepting:
            self._jobs.changed.wait()
        run = self._jobs.runs.get(job)
        if run is None or job in self._finishing:
            return False
        if run.cancelled:
            return True
        self.choose(run, every=True)  # a run-once step that will never run needs a task that is cancelled
        self._ledger.write(("job", {"id": job, "cancel_at": time.time(), "cancel_reason": reason}))
        self._jobs.record_ends(run, ends.cancel(run, reason))
        self._ledger.commit_if_possible()
        self._jobs.events.job(job, run.state, cancelled=reason)
        self._tell((node for node in run.nodes.values() if node.open), messages.encode("cancel", jobs=[[job, reason]]))
        self.update(run)
        return True

    def final_event(self, job: str) -> Event | None:
        """An event that is set when the job is final on disk; None when it is not open."""
        return self._final.setdefault(job, Event()) if job in self._jobs.runs else None

    def _finish(self, run: JobRun) -> None:
        self._finishing.add(run.id)
        now = time.time()
        fields = {"id": run.id, "state": run.verdict(), "finished_at": now, "counts": run.tasks()}
        if run.started_at is None:
            run.started_at = fields["started_at"] = now
        self._ledger.write(("job", fields), then=lambda error: self._finished(run))

    def _finished(self, run: JobRun) -> None:
        self._finishing.discard(run.id)
        # nodes whose last tasks were ended by the server have got no acknowledgement that closes the job
        unclosed = (node for node in run.nodes.values() if node.cursor and not node.closed)
        self._tell(unclosed, messages.encode("ack", number=0, close=[run.id]))
        self._jobs.remove(run)
        self._jobs.events.job(run.id, run.verdict(), final=True, tasks=run.tasks())
        self._run_once.forget(run.id)
        if run.id in self._final:
            self._final.pop(run.id).set()
        self._jobs.notify()
        for other in list(self._jobs.runs.values()) if run.meta.get("before") else ():
            if other.meta.get("after") == run.id and other.blocked:
                spawn("next job", self.proceed, other, run.verdict(), vital=False)

    def _tell(self, nodes: Iterable[NodeRun], header: bytes) -> None:
        for node in nodes:
            record = self._jobs.online(node.node)
            if record is not None:
                self._send(record, header, ())
