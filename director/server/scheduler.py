"""The jobs that are not final: accepts them, hands their steps out, takes results in, ends them.

All decisions are `dispatch`'s; this room writes them to the ledger first and then lets the sessions send.
Order of things, always: memory decides, the ledger makes it durable, only then does anybody hear of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ujson
from gevent.event import Event

from director import states as st
from director.errors import BusyError, ProtocolError, StoreError
from director.protocol import messages
from director.protocol.results import JobReport, TaskResult, check_report
from director.runtime.greenlets import Pace, breathe, spawn
from director.scheduler import job_state
from director.scheduler.fair_queue import FairQueue
from director.scheduler.job_state import JobRun, Load, NodeRun, RangeEnd
from director.server.dispatcher import AT_ONCE, Dispatcher, Slice
from director.server.ledger_client import LedgerClient
from director.server.resume import Resumed
from director.server.roster import NodeRecord, Roster, Send
from director.server.run_once import RunOnce

log = logging.getLogger(__name__)

NODE_LIMIT = 4096  # tasks of all jobs that one node holds; beyond it a job waits for room
NODE_MOST = 2 * NODE_LIMIT  # the same, first tasks of further jobs included
LEAST = 16  # tasks of one job that a node may hold, however many jobs it has
FIRST = 8  # tasks that a job may hand over though others fill the node
OPEN_TASKS = 20_000_000  # tasks that are not final; beyond it submissions are refused
OPEN_JOBS = 50_000
LOOK_AGAIN = 60.0  # seconds until a node that is offline is looked at though nothing of it was due
TURN = 0.005  # seconds of work before others get a turn
REASON_LIMIT = 2000


@dataclass(slots=True)
class Accepted:
    """A plan that shall become a job.

    Attributes:
        meta: of the plan, with `steps`, `stages`, `blocks`.
        chunks: encoded steps.
        record: the fields of the store's `accept` that come from the submission.
        resumed: what had gone well in the job that this one resumes.
    """

    meta: dict[str, Any]
    chunks: list[bytes]
    record: dict[str, Any]
    valid_for: float = 3600.0
    resumed: Resumed | None = None


class Scheduler:
    """All open jobs of this server."""

    def __init__(self, ledger: LedgerClient, roster: Roster, send: Send, lost_after: float) -> None:
        self.runs: dict[str, JobRun] = {}
        self.onces = RunOnce(self, ledger)
        self.changed = Event()  # set whenever a job changed; waiters clear nothing, they wait for the next set
        self.send = send
        self.open_tasks = 0
        self._ledger = ledger
        self._roster = roster
        self._lost_after = lost_after
        self._ready: FairQueue[str] = FairQueue()  # nodes to look at
        self._waking: set[tuple[str, str]] = set()  # job and node of each
        self._accepting: set[str] = set()  # jobs that are not on disk yet
        self._early: dict[str, list[Any]] = {}  # what happened to those of them that the ledger was not given yet
        self._loads: dict[str, Load] = {}  # what each node holds
        self._starved: dict[str, dict[str, None]] = {}  # node to jobs for which it had no room
        self._ending: set[str] = set()
        self._final: dict[str, list[Event]] = {}
        self._started = time.monotonic()
        self._delivery = Dispatcher(
            ledger,
            roster,
            self.runs,
            send,
            self._take_back,
            self._mark_started,
            self.wake,
        )
        spawn("dispatcher", self._pump, vital=True)

    # -- accepting ----------------------------------------------------------------------------------------

    def accept(self, jobs: Sequence[Accepted]) -> None:
        """Make jobs durable, all or none, and begin them; returns when they are on disk.

        Raises:
            BusyError: too many tasks are open.
            StoreError: the disk takes nothing, or another job has this id.
        """
        self.check_room()
        names = {job.record["id"] for job in jobs}
        if known := names & (self.runs.keys() | self._accepting):
            raise StoreError(f"there is another job with the id {min(known)}")
        self._accepting |= names
        self._early.update((name, []) for name in names)
        try:
            self._accept(jobs)
        finally:
            self._accepting -= names
            for name in names:
                self._early.pop(name, None)
            self._touch()

    def _accept(self, jobs: Sequence[Accepted]) -> None:
        runs = []
        for job in jobs:
            runs.append(self._build(job))
            breathe()
        hands = [hand for run in runs for hand in self._decide_first(run)]
        ops: list[Any] = []
        for job, run in zip(jobs, runs, strict=True):
            fields = {
                **job.record, "meta": job.meta, "node_count": len(run.nodes), "task_count": run.total,
                "step_count": run.steps, "nodes": list(run.nodes),
                "cursors": {name: node.cursor for name, node in run.nodes.items() if node.cursor},
            }  # fmt: skip
            ops += [("accept", fields, job.chunks), *self._early.pop(run.id)]
        try:
            self._ledger.commit(*ops, refusable=True)
        except Exception:
            for run in runs:
                self._forget(run)
            raise
        self._delivery.give(hands)
        for run in runs:
            self._accepting.discard(run.id)
            for node in run.nodes.values():  # those that came online meanwhile
                if not node.cursor and self._online(node.node):
                    self.wake(run, node)
            self._end_strays(run)
            self._check(run)

    def _decide_first(self, run: JobRun) -> Iterator[Slice]:
        """What each node gets at once; others get their turns while a large job is decided."""
        pace = Pace()
        for node in run.nodes.values():
            if self._online(node.node):
                hand = self._decide(run, node)
                if hand:
                    yield hand
            pace.pause()

    def _build(self, job: Accepted) -> JobRun:
        record, meta = job.record, job.meta
        meta["offline"] = [name for name in job_state.stage_nodes(meta) if not self._online(name)]
        run = JobRun.build(record["id"], meta, record["created_at"], job.valid_for, meta["offline"], breathe)
        run.timeout = record["options"].get("timeout", 0.0)
        breathe()  # with ten thousand nodes each of these is a long turn
        run.held = bool(meta.get("after"))
        if job.resumed is not None:
            record["resumes"] = job.resumed.id
            job_state.take_over(run, job.resumed.succeeded)
        self._delivery.chunks.keep(run.id, job.chunks)
        self._adopt(run, record)
        return run

    def check_room(self) -> None:
        """Raise BusyError when no more can be taken."""
        if self.open_tasks > OPEN_TASKS or len(self.runs) >= OPEN_JOBS:
            raise BusyError(
                f"{self.open_tasks} tasks of {len(self.runs)} jobs are open; try again when some have ended"
            )

    def restore(self, row: Mapping[str, Any]) -> None:
        """Take a job up again after a restart of the server."""
        meta = row["meta"]
        run = JobRun.build(
            row["id"],
            meta,
            row["created_at"],
            row["options"].get("valid_for", 3600.0),
            meta.get("offline", ()),
        )
        run.timeout = row["options"].get("timeout", 0.0)
        run.state, run.started_at = row["state"], row["started_at"]
        job_state.restore(run, row["nodes"], row["cancel_reason"] if row["cancel_at"] else "")
        run.held = bool(meta.get("after")) and run.state == st.JOB_QUEUED  # else it was let go before
        self._adopt(run, row)
        self._end_strays(run)
        for node in run.nodes.values():
            node.sent_at = _monotonic(run.started_at or run.created_at)  # as near as we know
            self._end_cancelled(run, node)
        self._check(run)

    def _end_strays(self, run: JobRun) -> None:
        """Nodes that were forgotten since the plan was made: nothing of them stays open."""
        rests: list[RangeEnd] = []
        for node in run.nodes.values():
            if node.node not in self._roster.nodes:
                rests += run.expire(node, f"there is no node {node.node} any more")
                rests += run.lose(node, f"there is no node {node.node} any more")
        self._rests(run, rests)

    def release_held(self) -> None:
        """After a restart: jobs whose predecessor is final go on, or end with it."""
        for run in list(self.runs.values()):
            if run.held and run.meta["after"] not in self.runs:
                found = ujson.loads(self._ledger.ask("find", id=run.meta["after"]))
                self._follow(run, found["state"] if found else "purged")

    def lose_open(self, reason: str) -> int:
        """Every open task is lost, on disk when the ledger has written what it was given; how many there were."""
        count = 0
        for run in list(self.runs.values()):
            self._choose(run, every=True)  # whoever may have had a run-once step: it is not run again
            count += run.open
            for node in run.nodes.values():
                self._rests(run, run.end_range(node, 0, run.steps - 1, st.LOST, reason))
            self._check(run)
        return count

    def _adopt(self, run: JobRun, row: Mapping[str, Any]) -> None:
        self.runs[run.id] = run
        run.since = _monotonic(run.created_at)
        self.open_tasks += run.total
        self._delivery.adopt(run, row)
        for node in run.nodes.values():
            record = self._roster.nodes.get(node.node)
            if node.open and record is not None:
                record.jobs[run.id] = node
                record.due = 0.0
                node.weigh_on(self._loads.setdefault(node.node, Load()))

    def options(self, job: str) -> dict[str, Any]:
        """The options of an open job, as they were accepted."""
        return self._delivery.options(job)

    def _forget(self, run: JobRun) -> None:
        if self.runs.pop(run.id, None) is None:
            return
        self.open_tasks -= run.total
        self._delivery.forget(run.id)
        self.onces.forget(run.id)
        for name, node in run.nodes.items():
            node.weigh_on(Load())
            record = self._roster.nodes.get(name)
            if record is not None:
                record.jobs.pop(run.id, None)

    # -- handing out --------------------------------------------------------------------------------------

    def wake(self, run: JobRun, node: NodeRun) -> None:
        """Look soon whether `node` may be given more of `run`."""
        self._wake(run.id, node.node)

    def _wake(self, job: str, name: str) -> None:
        if (job, name) not in self._waking:
            self._waking.add((job, name))
            self._ready.add(job, name)

    def _online(self, name: str) -> bool:
        record = self._roster.nodes.get(name)
        return record is not None and record.online and record.peer is not None

    def _decide(self, run: JobRun, node: NodeRun) -> Slice | None:
        """What the node gets now; it counts as sent from here on."""
        record = self._roster.nodes[node.node]
        load = node.load.handed
        room = min(_share(record) - node.handed, NODE_LIMIT - load)
        if not node.handed:  # a job that has nothing there is not kept waiting by those that have much
            room = max(room, min(FIRST, NODE_MOST - load))
        parts = run.next_parts(node, max(0, room))
        if room <= 0 and load >= NODE_LIMIT:
            self._starved.setdefault(node.node, {})[run.id] = None
        if not parts:
            return None
        run.hand(node, parts[-1].last + 1)
        node.sent_at = time.monotonic()
        return Slice(run, node, parts, node.epoch)

    def _pump(self) -> None:
        while True:
            self._ready.wait()
            hands: list[Slice] = []
            until = time.monotonic() + TURN
            while self._ready and time.monotonic() < until and len(hands) < 500:
                job, names = self._ready.take(AT_ONCE)
                hands += [hand for name in names if (hand := self._consider(job, name))]
            if hands:
                self._write_ahead(hands)
            breathe()

    def _consider(self, job: str, name: str) -> Slice | None:
        self._waking.discard((job, name))
        run = self.runs.get(job)
        node = run.nodes.get(name) if run else None
        if run is None or node is None or not node.open or not self._online(name) or job in self._accepting:
            return None
        try:
            return self._decide(run, node)
        except Exception:
            log.exception("steps of job %s for %s could not be chosen", job, name)
            return None

    def _write_ahead(self, hands: list[Slice]) -> None:
        ops: dict[str, dict[str, int]] = {}
        for hand in hands:
            ops.setdefault(hand.run.id, {})[hand.node.node] = hand.node.cursor
        self._ledger.write(
            *(("cursors", {"job": job, "cursors": cursors}) for job, cursors in ops.items()),
            then=lambda error: self._delivery.give(hands),
        )

    def _take_back(self, run: JobRun, node: NodeRun, first: int) -> None:
        """The steps from `first` on were surely not delivered: they are queued again, or end with the cancel."""
        record = self._roster.nodes.get(node.node)
        if record is not None:
            record.due = 0.0
        run.take_back(node, first)
        self._ledger.write(("cursors", {"job": run.id, "cursors": {node.node: first}}))
        self._end_cancelled(run, node)

    def _end_cancelled(self, run: JobRun, node: NodeRun) -> None:
        if run.cancelled:
            self._rests(
                run,
                run.end_range(node, node.cursor, run.steps - 1, st.CANCELLED, run.cancelled, job_state.WAITING),
            )
            self._check(run)

    def _mark_started(self, run: JobRun) -> None:
        if run.started_at is None:
            run.started_at = time.time()
            self._ledger.write(("job", {"id": run.id, "state": run.state, "started_at": run.started_at}), lazy=True)
            self._touch()

    # -- taking in ----------------------------------------------------------------------------------------

    def take_results(
        self, record: NodeRecord, jobs: Sequence[Any], payload: bytes, then: Callable[[list[str]], None]
    ) -> None:
        """Results of a node: `[[job, rows, begun, rests], …]`; `then(jobs to close)` when they are durable.

        Raises:
            ProtocolError: rows that no client of ours would send.
        """
        start = 0
        ops: list[Any] = []
        after: list[JobRun] = []
        close: list[str] = []
        for job, rows, begun, rests in [self._entry(entry) for entry in jobs]:  # all are valid, or nothing is done
            size = sum(row.output_size for row in rows)
            blob = payload[start : start + size]
            start += size
            run = self.runs.get(job)
            node = run.nodes.get(record.name) if run else None
            if run is None or node is None:
                if rows:
                    ops.append(("late_results", {"job": job, "node": record.name, "results": rows}, blob))
                close.append(job)
                continue
            self._begin(run, node, begun)
            ops += self._end_rows(run, node, rows, blob)
            ops += self._end_rests(run, node, rests)
            after.append(run)
            if not node.open:
                node.closed = True
                close.append(job)
        self._ledger.write(*ops, then=lambda error: then(close), lazy=True)
        for run in after:
            self._after(run, record)

    def _entry(self, entry: Any) -> JobReport:
        report = check_report(entry)
        run = self.runs.get(report.job)
        if run is not None and any(not 0 <= row.step < run.steps for row in report.results):
            raise ProtocolError("a result of a step that there is not")
        return report

    def _begin(self, run: JobRun, node: NodeRun, begun: Sequence[Any]) -> None:
        for step, at in begun:
            run.begin(node, step, at)

    def _end_rows(self, run: JobRun, node: NodeRun, rows: list[TaskResult], blob: bytes) -> list[Any]:
        """The ops for one job's rows: those that end a task, and those that came after its end."""
        now = time.monotonic()
        name, ops = node.node, []
        late, cut, rests = False, 0, []
        roundtrip = round(max(0.0, now - node.sent_at), 6)
        rows = [row._replace(roundtrip_time=roundtrip) for row in rows]
        for row in rows:
            followed = run.end(node, row.step, row.state_code, row.reason or "")
            if followed is not None:
                rests += followed
                continue
            late = True
            if _knows_less(node, row):
                # its journal knows less than we do: it will run nothing more of this job
                rests += run.give_up(node, row.reason or "")
        if late:
            for row in rows:
                size = row.output_size
                if _knows_less(node, row):
                    cut += size
                    continue
                ops.append(
                    (
                        "late_results" if _is_late(node, row) else "results",
                        {"job": run.id, "node": name, "results": [row]},
                        blob[cut : cut + size],
                    )
                )
                cut += size
        elif rows:
            ops.append(("results", {"job": run.id, "node": name, "results": rows}, blob))
        if rests:
            ops.append(self._rest_op(run, rests))
        return ops

    def _end_rests(self, run: JobRun, node: NodeRun, rests: Sequence[Any]) -> list[Any]:
        done: list[RangeEnd] = []
        for first, last, letter, reason in rests:
            if st.NAMES.get(ord(letter)) in ("cancelled", "lost", "skipped", "failed", "timeout"):
                done += run.end_range(node, first, min(last, node.cursor - 1), ord(letter), reason[:REASON_LIMIT])
        return [self._rest_op(run, done)] if done else []

    def _after(self, run: JobRun, record: NodeRecord) -> None:
        """What results may have made possible: more for this node, an open gate, the end of the job."""
        node = run.nodes[record.name]
        if not node.open:
            record.jobs.pop(run.id, None)
        elif not run.cancelled and node.cursor < run.limit and node.handed <= _share(record) // 2:
            self.wake(run, node)
        self._feed(record)
        self._check(run)

    def _feed(self, record: NodeRecord) -> None:
        """The node has room again: jobs that found none are looked at, those that wait longest first."""
        starved = self._starved.get(record.name)
        load = self._loads.get(record.name)
        if not starved or load is None or load.handed > NODE_LIMIT - LEAST:
            return
        for job in list(starved)[: (NODE_LIMIT - load.handed) // LEAST]:
            del starved[job]
            self._wake(job, record.name)
        if not starved:
            del self._starved[record.name]

    def _check(self, run: JobRun) -> None:
        if self.runs.get(run.id) is not run or run.id in self._accepting:
            return
        opened = run.open_gates()
        if not run.held:
            self._choose(run)
        if opened:
            for node in run.nodes.values():
                if node.open:
                    self.wake(run, node)
        self.onces.look(run)
        self._touch()
        if run.over and run.id not in self._ending:
            self._ending.add(run.id)
            self._finish(run)

    def _choose(self, run: JobRun, every: bool = False) -> None:
        """A stage has started: its run-once steps get their node, on disk before it gets them."""
        before = run.total
        for node in run.choose(self._online, every):
            record = self._roster.nodes.get(node.node)
            if record is not None:
                record.jobs[run.id] = node
                record.due = 0.0
                node.weigh_on(self._loads.setdefault(node.node, Load()))
                self.wake(run, node)
        if run.total != before:
            self.open_tasks += run.total - before
            self._ledger.write(("plan", {"id": run.id, "meta": run.meta}))

    def _finish(self, run: JobRun) -> None:
        now = time.time()
        fields = {"id": run.id, "state": run.verdict(), "finished_at": now, "counts": run.tasks()}
        if run.started_at is None:
            run.started_at = fields["started_at"] = now
        self._ledger.write(("job", fields), then=lambda error: self._finished(run))

    def _finished(self, run: JobRun) -> None:
        self._ending.discard(run.id)
        self._close(run)
        self._forget(run)
        for event in self._final.pop(run.id, ()):
            event.set()
        self._touch()
        for other in list(self.runs.values()) if run.meta.get("before") else ():
            if other.meta.get("after") == run.id and other.held:
                spawn("next file", self._follow, other, run.verdict(), vital=False)

    def _close(self, run: JobRun) -> None:
        """Nodes whose last tasks were ended here, not by a result of theirs, may forget the job too."""
        header = messages.encode("ack", number=0, close=[run.id])
        for node in run.nodes.values():
            record = self._roster.nodes.get(node.node)
            if node.cursor and not node.closed and record is not None and record.online:
                self.send(record, header, ())

    def _follow(self, run: JobRun, state: str) -> None:
        """The file before ended in `state`: this one starts, or is cancelled with that reason."""
        if state == st.JOB_SUCCESS:
            run.held = False
            self._choose(run)
            for node in run.nodes.values():
                self.wake(run, node)
        else:
            self.cancel(run.id, f"job {run.meta['after']} before it ended {state}")

    def _rests(self, run: JobRun, rests: Iterable[RangeEnd]) -> None:
        rests = list(rests)
        if rests and run.id in self._early:
            self._early[run.id].append(self._rest_op(run, rests))
        elif rests:
            self._ledger.write(self._rest_op(run, rests))

    def _rest_op(self, run: JobRun, rests: Sequence[RangeEnd]) -> Any:
        now = time.time()
        items = [(r.node, r.first, r.last, chr(r.state), r.reason[:REASON_LIMIT], now) for r in rests]
        for rest in rests:
            node = run.nodes[rest.node]
            record = self._roster.nodes.get(rest.node)
            if not node.open and record is not None:
                record.jobs.pop(run.id, None)
        return ("range_ends", {"job": run.id, "items": items})

    def _touch(self) -> None:
        self.changed.set()
        self.changed.clear()

    # -- nodes that come, go and stay away ----------------------------------------------------------------

    def reconcile(self, record: NodeRecord, held: Mapping[str, int], lost: str) -> dict[str, Any]:
        """Compare what a node holds with what it should hold; what each job it holds shall become.

        Args:
            held: job to the first step that the node was never given.
            lost: why everything it was given is lost, "" when it is not.

        Returns:
            Job to `{"act": "go" | "drop" | "cancel", "open": tasks that the node is to end}`.
        """
        orders: dict[str, Any] = {}
        record.due = 0.0
        for job, node in list(record.jobs.items()):
            run = self.runs[job]
            upto = held.get(job, 0)
            if lost:
                self._rests(run, run.lose(node, lost))
            elif st.RUNNING in node.states[upto : node.cursor]:
                self._rests(run, run.lose(node, "the node does not know steps that it had begun"))
            elif upto < node.cursor:
                moved = run.take_back(node, upto)
                log.debug("%s never had %d tasks of %s", record.name, moved, job)
                self._ledger.write(("cursors", {"job": job, "cursors": {record.name: upto}}))
                self._end_cancelled(run, node)
            else:
                self._catch_up(run, node, upto)
            node.chunk = -1
            self._check(run)
        for job in held:
            orders[job] = self._order(record, job)
        return orders

    def _catch_up(self, run: JobRun, node: NodeRun, upto: int) -> None:
        """The node was given more than we know: our ledger is an older one. Its word counts, as far as a gate."""
        upto = min(upto, run.limit)
        if upto > node.cursor and not run.held:
            log.warning("%s has %d steps of job %s that this ledger does not know of", node.node,
                        upto - node.cursor, run.id)  # fmt: skip
            run.hand(node, upto)
            self._ledger.write(("cursors", {"job": run.id, "cursors": {node.node: node.cursor}}))

    def _order(self, record: NodeRecord, job: str) -> dict[str, Any]:
        node = record.jobs.get(job)
        run = self.runs.get(job)
        if run is not None and run.cancelled:
            return {"act": "cancel", "reason": run.cancelled, **_open_of(node)}
        if run is None or node is None:
            return {"act": "drop"}
        return {"act": "go", **_open_of(node)}

    def online(self, record: NodeRecord) -> None:
        """The session has begun: the node may be given what waits for it."""
        for job in list(record.jobs):
            run = self.runs.get(job)
            if run is not None:
                self.wake(run, run.nodes[record.name])

    def tick(self, now: float) -> None:
        """Expire and lose what has waited too long; `now` is monotonic seconds."""
        for record in list(self._roster.nodes.values()):
            if record.jobs and not record.online and now >= record.due:
                self._overdue(record, now)

    def _overdue(self, record: NodeRecord, now: float) -> None:
        """End what is due on a node that is offline, and note when to look again: not each second at each job."""
        silence = now - max(record.heard or 0.0, self._started, record.back_by)
        record.due = now + LOOK_AGAIN
        for job, node in list(record.jobs.items()):
            run = self.runs[job]
            rests: list[RangeEnd] = []
            if st.QUEUED in node.states:
                left = run.valid_for - (now - max(record.offline_since, run.since))
                record.due = min(record.due, now + left) if left > 0 else record.due
                if left <= 0:
                    why = f"the node was offline for longer than --valid-for ({run.valid_for:g} s)"
                    rests += run.expire(node, why)
            if node.handed:
                left = self._lost_after - silence
                record.due = min(record.due, now + left) if left > 0 else record.due
                if left <= 0:
                    why = f"the node was silent for longer than --lost-after ({self._lost_after:g} s)"
                    rests += run.lose(node, why)
            if rests:
                self._rests(run, rests)
                self._check(run)

    def lose_all(self, record: NodeRecord, reason: str) -> None:
        """The node will not come back as it was: what it held is lost, what waits stays queued for the name."""
        for job, node in list(record.jobs.items()):
            run = self.runs[job]
            self._rests(run, run.lose(node, reason))
            self._check(run)

    def abandon(self, record: NodeRecord, reason: str) -> None:
        """The node is forgotten: nothing of it stays open."""
        self.lose_all(record, reason)
        for job, node in list(record.jobs.items()):
            run = self.runs[job]
            self._rests(run, run.expire(node, reason))
            self._check(run)

    # -- cancelling and waiting ---------------------------------------------------------------------------

    def cancel(self, job: str, reason: str) -> bool:
        """Order the end of a job; returns when the order is on disk. False when it is not open."""
        while job in self._accepting:
            self.changed.wait()
        run = self.runs.get(job)
        if run is None or job in self._ending:
            return False
        if run.cancelled:
            return True
        self._choose(run, every=True)  # so that what will never run has a task that says so
        rests = run.cancel(reason)
        ops: list[Any] = [("job", {"id": job, "cancel_at": time.time(), "cancel_reason": reason})]
        if rests:
            ops.append(self._rest_op(run, rests))
        self._ledger.commit(*ops)
        header = messages.encode("cancel", jobs=[[job, reason]])
        for node in run.nodes.values():
            record = self._roster.nodes.get(node.node)
            if node.open and record is not None and record.online:
                self.send(record, header, ())
        self._check(run)
        return True

    def final_event(self, job: str) -> Event | None:
        """An event that is set when the job is final on disk; None when it is not open."""
        if job not in self.runs:
            return None
        event = Event()
        self._final.setdefault(job, []).append(event)
        return event

    def forget_event(self, job: str, event: Event) -> None:
        """Nobody waits on `event` any more."""
        waiting = self._final.get(job, [])
        if event in waiting:
            waiting.remove(event)
        if not waiting:
            self._final.pop(job, None)


def _monotonic(at: float) -> float:
    """When an epoch time was on the clock that nobody sets; one that lies ahead is now."""
    return time.monotonic() - max(0.0, time.time() - at)


def _open_of(node: NodeRun | None) -> dict[str, int]:
    """How many tasks the node is to end, when there are any; part of each order of a welcome."""
    return {"open": node.handed} if node is not None and node.handed else {}


def _is_late(node: NodeRun, row: TaskResult) -> bool:
    """Whether the task has another final state already."""
    return 0 <= row.step < len(node.states) and node.states[row.step] != row.state_code


def _knows_less(node: NodeRun, row: TaskResult) -> bool:
    """Whether the row reports a task as lost that has another final state."""
    return row.state == chr(st.LOST) and node.states[row.step] in st.FINAL - {st.LOST}


def _share(record: NodeRecord) -> int:
    """How many tasks of one job this node may hold: the more jobs it has, the fewer of each."""
    return max(LEAST, min(job_state.WINDOW, NODE_LIMIT // max(1, len(record.jobs))))
