"""The state that the journal's records describe, updated by each record when it is written or read."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from director.agent.journal.log import Body, Record, failing
from director.errors import StoreError

Facts = dict[str, Any]
Pairs = list[tuple[int, Any]]


@dataclass(slots=True)
class Slice:
    """Steps `first` to `last` of a job; `body` has their chunk, or is empty where an earlier slice has it."""

    first: int
    last: int
    body: Body


@dataclass(slots=True)
class Kept:
    """A result that the server has not stored.

    Attributes:
        row: the result as a list, as `TaskResult` has it.
        number: rises with each result.
        size: bytes of the outputs, 0 when their file was lost.
        check: CRC-32 of outputs that have their own file, else 0.
        path: that file, "" when the outputs are in the journal.
        body: where they are in the journal, None when they have a file.
    """

    row: list[Any]
    number: int
    size: int
    check: int = 0
    path: str = ""
    body: Body | None = None

    def outputs(self) -> bytes:
        """The outputs, b"" when their file was lost; raises StoreError."""
        if self.body is not None:
            return self.body.read()
        if not self.path:
            return b""
        with failing(f"cannot read {self.path}"), open(self.path, "rb") as file:
            return file.read()

    def is_whole(self) -> bool:
        """Whether the file of the outputs is as it was written."""
        try:
            data = self.outputs()
        except StoreError:
            return False
        return len(data) == self.size and zlib.crc32(data) == self.check

    def lose_outputs(self) -> None:
        """The file is gone or damaged; the result stays."""
        self.path, self.size, self.check = "", 0, 0


@dataclass(slots=True)
class JobRecord:
    """What is recorded of one job; to be read only.

    Attributes:
        head: facts of the job from its slices, later ones over earlier ones.
        slices: in the order of arrival.
        started: step to the attempt that began last.
        results: step to the result that the server has not stored.
        done: step to the row of its last result, stored or not.
        notes: facts recorded by `Journal.note`.
        size: bytes on disk of the records that still count, about.
    """

    head: dict[str, Any] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
    started: dict[int, int] = field(default_factory=dict)
    results: dict[int, Kept] = field(default_factory=dict)
    done: dict[int, list[Any]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    size: int = 0

    @property
    def given(self) -> set[int]:
        """Every step that the client was given."""
        return {step for piece in self.slices for step in range(piece.first, piece.last + 1)}

    @property
    def in_flight(self) -> dict[int, int]:
        """Step to attempt of what began and has no result."""
        return {step: attempt for step, attempt in self.started.items() if step not in self.done}


class State:
    """Everything the journal knows; `apply_X` takes the fields of one kind of record.

    Attributes:
        position: how many facts were ever recorded, also before the file was rewritten.
        jobs: every job that was not closed; to be read only.
        number: of the newest result.
        boot: id of the kernel's boot in which the journal was last opened.
        live: bytes on disk of the records that still count, about.
        unstored: number to (job, step) of the results that are not stored, rising.
        dropped: results whose file may be removed.
    """

    def __init__(self, spool: str) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.position = self.number = 0
        self.boot = ""
        self.live = 0
        self.unstored: dict[int, tuple[str, int]] = {}
        self.dropped: list[Kept] = []
        self._spool = spool

    def apply(self, fields: list[Any], body: Body, size: int) -> None:
        """Take in one record, which has `size` bytes on disk."""
        APPLY[fields[0]](self, body, size, *fields[1:])

    def _job(self, name: str, size: int) -> JobRecord:
        self.position += 1
        self.live += size
        job = self.jobs.get(name)
        if job is None:
            job = self.jobs[name] = JobRecord()
        job.size += size
        return job

    def apply_header(self, body: Body, size: int, facts: Facts) -> None:
        """The first record of a rewritten file. The `records` that follow it are not counted as new facts."""
        self.position = facts["position"] - facts["records"]
        self.number, self.boot = facts["number"], facts["boot"]

    def apply_boot(self, body: Body, size: int, boot: str) -> None:
        """The client was started in this boot of the host."""
        self.position += 1
        self.boot = boot

    def apply_job(
        self, body: Body, size: int, name: str, head: Facts, notes: Facts, started: Pairs, done: Pairs
    ) -> None:
        """A job, in a rewritten file."""
        job = self._job(name, size)
        job.head, job.notes, job.started, job.done = head, notes, dict(started), dict(done)

    def apply_slice(self, body: Body, size: int, name: str, head: Facts, first: int, last: int) -> None:
        """Steps were given; the same steps given again replace the earlier ones."""
        job = self._job(name, size)
        job.head.update(head)
        job.slices = [one for one in job.slices if (one.first, one.last) != (first, last)]
        job.slices.append(Slice(first, last, body))

    def apply_started(self, body: Body, size: int, name: str, step: int, attempt: int) -> None:
        """A step begins; the result of an earlier attempt no longer counts."""
        job = self._job(name, size)
        job.started[step] = attempt
        job.done.pop(step, None)

    def apply_result(
        self, body: Body, size: int, name: str, step: int, row: list[Any], number: int, spooled: list[int]
    ) -> None:
        """A step has ended."""
        self.apply_kept(body, size, name, step, row, number, spooled)
        self.jobs[name].done[step] = row

    def apply_kept(
        self, body: Body, size: int, name: str, step: int, row: list[Any], number: int, spooled: list[int]
    ) -> None:
        """A result that is not stored."""
        job = self._job(name, size)
        self._drop(job, step)
        kept = Kept(row, number, body.size, body=body)
        if spooled:
            length, check = spooled
            kept = Kept(row, number, length, check, f"{self._spool}/{number}")
        job.results[step] = kept
        self.unstored[number] = (name, step)
        self.number = max(self.number, number)

    def apply_stored(self, body: Body, size: int, number: int) -> None:
        """The server has stored every result up to `number`."""
        self.position += 1
        while self.unstored and (first := next(iter(self.unstored))) <= number:
            name, step = self.unstored[first]
            self._drop(self.jobs[name], step)

    def _drop(self, job: JobRecord, step: int) -> None:
        kept = job.results.pop(step, None)
        if kept is None:
            return
        self.unstored.pop(kept.number, None)
        if kept.path:
            self.dropped.append(kept)
        else:
            job.size -= kept.size
            self.live -= kept.size

    def apply_note(self, body: Body, size: int, name: str, facts: Facts) -> None:
        """Facts of a job, merged over its earlier ones."""
        self._job(name, size).notes.update(facts)

    def apply_closed(self, body: Body, size: int, name: str) -> None:
        """The job is forgotten."""
        self.position += 1
        job = self.jobs.pop(name, None)
        if job is None:
            return
        for step in list(job.results):
            self._drop(job, step)
        self.live -= job.size

    def resize(self, records: list[Record], sizes: list[int]) -> None:
        """Take over the bytes that each record has in a rewritten file."""
        for job in self.jobs.values():
            job.size = 0
        for (fields, _), size in zip(records[1:], sizes[1:], strict=True):
            self.jobs[fields[1]].size += size
        self.live = sum(sizes[1:])

    def records(self) -> list[Record]:
        """Records that rebuild this state, the header first."""
        found: list[Record] = []
        for name, job in self.jobs.items():
            carried = ["j", name, job.head, job.notes, list(job.started.items()), list(job.done.items())]
            found.append((carried, None))
            found += [(["s", name, {}, one.first, one.last], one.body) for one in job.slices]
        for name, step in self.unstored.values():
            kept = self.jobs[name].results[step]
            spooled = [kept.size, kept.check] if kept.body is None else []
            found.append((["k", name, step, kept.row, kept.number, spooled], kept.body))
        header = {"position": self.position, "number": self.number, "boot": self.boot}
        return [(["h", {**header, "records": len(found)}], None), *found]


APPLY: dict[str, Callable[..., None]] = {
    "h": State.apply_header,
    "b": State.apply_boot,
    "j": State.apply_job,
    "s": State.apply_slice,
    "o": State.apply_started,
    "r": State.apply_result,
    "k": State.apply_kept,
    "n": State.apply_stored,
    "f": State.apply_note,
    "c": State.apply_closed,
}
