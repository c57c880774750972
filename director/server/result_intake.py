"""Takes results of nodes: ends their tasks in memory, writes them to the ledger, then lets them be acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from director import states as st
from director.errors import ProtocolError
from director.protocol.results import JobReport, TaskResult, check_report
from director.scheduler import ends, windows
from director.scheduler.job_state import JobRun, RangeEnd
from director.scheduler.node_run import NodeRun
from director.server.ledger_client import LedgerClient
from director.server.lifecycle import Lifecycle
from director.server.live_output import LiveOutput
from director.server.node_labels import NodeLabels
from director.server.open_jobs import OpenJobs
from director.server.result_bounds import bounded, with_outputs
from director.server.roster import NodeRecord

RANGE_STATES = st.FINAL - st.GOOD - {st.EXPIRED}  # what a node may report for a range


class ResultIntake:
    """Takes results of open and of final jobs."""

    def __init__(
        self, jobs: OpenJobs, lifecycle: Lifecycle, ledger: LedgerClient, labels: NodeLabels,
        live: LiveOutput,
    ) -> None:  # fmt: skip
        self._jobs, self._lifecycle, self._ledger, self._labels, self._live = jobs, lifecycle, ledger, labels, live

    def take_results(
        self, record: NodeRecord, jobs: Sequence[Any], payload: bytes, then: Callable[[list[str]], None]
    ) -> bool:
        """Take one `results` message. Results of tasks that the node was not given are dropped.

        Args:
            jobs: entries for `check_report`; when one is malformed none is taken.
            payload: the outputs of all results, one after the other.
            then: called with the jobs that the node may close, when everything is on disk.

        Returns:
            Whether each of the results ended a task.

        Raises:
            ProtocolError: an entry that no client sends.
        """
        operations: list[Any] = []
        changed: list[JobRun] = []
        close: list[str] = []
        taken: list[tuple[str, list[TaskResult]]] = []
        count = ended = 0
        for report, outputs in with_outputs([self._check(entry) for entry in jobs], payload):
            job, results, begun, ranges = report
            count += len(results)
            run = self._jobs.runs.get(job)
            node = run.nodes.get(record.name) if run else None
            if run is None or node is None:
                if results and run is None:
                    results, outputs = bounded(results, outputs, None)
                    operations.append(("late_results", {"job": job, "node": record.name, "results": results}, outputs))
                close.append(job)
                continue
            for step, at in begun:
                run.begin(node, step, at)
            open_before = node.open
            results, outputs = bounded(results, outputs, node.cursor)
            operations += self._end_tasks(run, record, results, outputs)
            ended += open_before - node.open
            taken.append((job, results))
            operations += self._end_ranges(run, node, ranges)
            changed.append(run)
            if not node.open:
                node.closed = True
                close.append(job)

        def stored(error: str | None) -> None:
            then(close)
            for job, results in taken:  # a viewer that came after them finds them in the ledger only now
                self._live.ended(job, record.name, results)

        self._ledger.write(*operations, then=stored, lazy=True)
        for run in changed:
            self._follow_up(run, record)
        return ended >= count > 0

    def _check(self, entry: Any) -> JobReport:
        report = check_report(entry)
        run = self._jobs.runs.get(report.job)
        if run is not None and any(not 0 <= result.step < run.steps for result in report.results):
            raise ProtocolError("a result of a step that the job does not have")
        return report

    def _end_tasks(self, run: JobRun, record: NodeRecord, results: list[TaskResult], outputs: bytes) -> Iterator[Any]:
        """End tasks; the operations that record the results, the ends that follow from them, and labels."""
        node = run.nodes[record.name]
        seconds = round(max(0.0, time.monotonic() - node.sent_at), 6)
        results = [result._replace(roundtrip_time=seconds) for result in results]
        followed: list[RangeEnd] = []
        names, good = [], []
        for result in results:
            state, name = result.state_code, "results"
            found = ends.end(run, node, result.step, state, result.reason or "")
            recorded = node.states[result.step]
            if found is None and state == st.LOST and recorded in st.FINAL - {st.LOST}:
                # the node's journal lost results that are recorded here: it runs nothing more of this job
                found, name = ends.give_up(run, node, result.reason or ""), ""
            elif recorded != state:
                name = "late_results"
            if found is not None and result.state_code in st.GOOD:
                good.append(result.step)
            if found is not None and result.effects:
                record.take_effects(result.effects)
            followed += found or ()
            names.append(name)
        start = 0
        for name, group in groupby(zip(names, results, strict=True), key=itemgetter(0)):
            rows = [result for _, result in group]
            end = start + sum(result.output_size for result in rows)
            if name:
                yield name, {"job": run.id, "node": node.node, "results": rows}, outputs[start:end]
            start = end
        if followed:
            yield self._jobs.ends_operation(run, followed)
        yield from self._labels.take_steps(run, record, good)

    def _end_ranges(self, run: JobRun, node: NodeRun, ranges: Iterable[tuple[int, int, str, str]]) -> list[Any]:
        ended: list[RangeEnd] = []
        for first, last, letter, reason in ranges:
            if ord(letter) in RANGE_STATES:
                ended += run.end_range(node, first, min(last, node.cursor - 1), ord(letter), reason)
        return [self._jobs.ends_operation(run, ended)] if ended else []

    def _follow_up(self, run: JobRun, record: NodeRecord) -> None:
        """Let the node get more, of this job or of others for which it has room again, and update the job."""
        node = run.nodes[record.name]
        self._jobs.events.tasks(run, record.name)
        if not node.open:
            record.jobs.pop(run.id, None)
        elif not run.cancelled and windows.has_room(run, node, len(record.jobs)):
            self._jobs.due.add(run.id, record.name)
        for job in windows.feed(node.load):
            self._jobs.due.add(job, record.name)
        self._lifecycle.update(run)
