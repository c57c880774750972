"""The contract of a store: the ledger of jobs, results and nodes, as few small documented methods.

One process uses a store: one thread calls `apply`, another one the queries, at the same time.
`memory.py` and `sqlite.py` keep the contract; the tests in `tests/stores/` run over both.

Operations. `apply` takes tuples `(name, fields)` or `(name, fields, body)`; `fields` is a JSON object, times
are epoch seconds (float). Every one may be applied again after a crash and then changes nothing.

- `accept` + body (the chunks of steps, a list of bytes): a job. `{"id", "name", "kind", "created_at",
  "submitted_by", "step_count", "node_count", "task_count", "digest", "options": {}, "meta": {},
  "nodes": [name], "sent": {name: upto}, "digests": {sha256: size}}` (`digest` is of the submission; `digests`
  are the blobs it needs, or names of lists of them (`content_lists`), a list will do, or `meta["digests"]`). The same
  id and digest: nothing happens; another digest: DuplicateJobError. With `"resumes": id` it runs another job's plan
  again: without chunks of its own it has that job's, and what had succeeded there is `cached` here, with its effects;
  GoneJobError when that job was purged.
- `sent` `{"job", "upto": {name: int}}`: steps below `upto` may have been delivered; it may go down again.
- `results` + body (stdout then stderr of each row, one after another): `{"job", "node", "rows": [[step,
  state, exit_code, started_at, finished_at, execution_time, roundtrip_time, attempt, reason, truncated,
  out_len, err_len, effects]]}`. The first row of a task stays. A row for a task that a `rest` made final
  before is kept as its `late` result.
- `late` + body, like `results`: kept beside the state the task has; the first one stays.
- `rest` `{"job", "items": [[node, first, last, state, reason, at]]}`: tasks of the node with
  first <= step <= last that are not final yet are now in this final state.
- `job` `{"id", "state"?, "started_at"?, "finished_at"?, "counts"?, "cancel_at"?, "cancel_reason"?}`: given
  fields change; once `state` is final, nothing of it changes any more.
- `plan` `{"id", "meta"}`: the plan's meta is now this one (a run-once step got its node).
- `node` `{"name", "key"?, "address"?, "version"?, "labels"?, "facts"? (JSON text), "args"?, "last_seen"?,
  "reason"?, "state"?, "mark"?, "instance"?}`: makes or changes a node; what is not given stays.
- `forget_node` `{"name"}` · `node_seen` `{"seen": {name: epoch}}` (unknown names are left out).
- `purge_jobs` `{"ids": []}`: deletes those of them that are final; `tidy` gives back what large ones held.
- `prune` `{"before": epoch, "keep": count, "limit": n}`: deletes the oldest final jobs, n at most, that were
  created before `before` or are not among the newest `keep` jobs. One that came after a younger job is not
  old, whatever it says: the clock was behind when it was created.

What names a job that the store does not have (it was purged) is left out without an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

from director.errors import StoreError

Op = tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], Any]
Live = Mapping[str, Mapping[str, Any]]

NODE_FIELDS = (
    "key", "address", "version", "labels", "facts", "args", "last_seen", "reason", "state", "mark",
    "instance",
)  # fmt: skip


class DuplicateJobError(StoreError):
    """Another job has this id already; the submitter must choose a new one."""


class BadOperationError(StoreError):
    """An operation cannot be understood; applying it again will not help, dropping it will."""


class GoneJobError(StoreError):
    """The job that shall be resumed was forgotten meanwhile; it has to be submitted anew."""


class OpenNode(TypedDict):
    """A node of an open job: delivered up to, rows `(step, letter)`, rests `(first, last, letter)`."""

    sent: int
    rows: list[tuple[int, str]]
    rests: list[tuple[int, int, str]]


@dataclass(slots=True)
class OpenJob:
    """A job that is not final, as a server takes it up again; `nodes` is in the order of the job's nodes.

    A row beats a rest, an earlier rest beats a later one. `state` is `queued` or `running`.
    """

    id: str
    name: str
    kind: str
    created_at: float
    submitted_by: str
    step_count: int
    node_count: int
    task_count: int
    digest: str
    state: str
    started_at: float | None
    cancel_at: float | None
    cancel_reason: str
    options: dict[str, Any]
    meta: dict[str, Any]
    nodes: dict[str, OpenNode]


@dataclass(slots=True)
class ResumeRecord:
    """What `--resume` needs of a job.

    Attributes:
        state: the job's state by name (only a final one may be resumed; the caller judges).
        succeeded: for each node one byte per step, 1 where the task was `success` or `cached`.
        seeded: the nodes on which any of those had effects (`Store.effects` gives them).
    """

    id: str
    name: str
    kind: str
    state: str
    step_count: int
    options: dict[str, Any]
    meta: dict[str, Any]
    succeeded: dict[str, bytearray] = field(default_factory=dict)
    seeded: list[str] = field(default_factory=list)


class Store(Protocol):
    """A ledger. Every method may raise StoreError; JSON comes as UTF-8 bytes in the shapes of docs.

    `live` is what the server has in memory of jobs that are not final: `{job: {"state", "tasks": {counts},
    "started_at", "nodes": {node: letters, one per step}, "running": {node: {step: started_at}}}}`, the last
    two optional. It beats the ledger for tasks that have no row.
    """

    def apply(self, ops: Sequence[Op]) -> None:
        """Apply all operations or none; they are durable on return.

        Raises: DuplicateJobError and BadOperationError (trying again will not help: apply one by one to find
            which), any other StoreError when nothing could be written (a later try may do).
        """

    def tidy(self) -> bool:
        """One small step of giving room back after jobs were forgotten; whether there is more to do."""

    def close(self) -> None:
        """End the use of the store; a second call does nothing."""

    # recovery

    def lost(self) -> str:
        """What the store cannot give back of what it was given, in a sentence, until `settle`; "" for nothing.

        Then it holds an earlier state: jobs may be missing, and what was open in it may have been sent and have run.
        """

    def settle(self) -> None:
        """What follows from the loss is on disk; it is told no more."""

    def open_jobs(self) -> Iterator[OpenJob]:
        """Each job that is not final, oldest first, one in memory at a time."""

    def chunk(self, job: str, n: int) -> bytes:
        """The n-th chunk of the job's encoded steps; NotFoundError when there is none."""

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes by name: `{"name", …NODE_FIELDS}`; `labels` and `args` decoded, `facts` as JSON text."""

    def find(self, job: str) -> dict[str, str] | None:
        """`{"state", "digest"}` of the job with exactly this id, or None."""

    # queries

    def resolve(self, prefix: str) -> str:
        """The id for an id, a unique prefix or `last`; NotFoundError, or UsageError that names some."""

    def list_jobs(self, filters: Mapping[str, Any], live: Live) -> bytes:
        """A JSON list of jobs, newest last.

        `filters`, all optional: `ids` (ids, prefixes or `last`: exactly these, nothing else counts), `limit`
        (the newest n; 0 or absent: all), `state` (names), `since` (epoch seconds of creation), `nodes`
        (names: jobs on any of them; None: no matter).
        """

    def job_info(self, job: str, live: Live) -> bytes:
        """The JSON object of `--job-info` for an id, prefix or `last`."""

    def job_info_parts(self, job: str, live: Live) -> Iterator[bytes]:
        """The same text in parts of about 1 MiB, so that a job of any size needs little memory."""

    def export_jobs(self, live: Live | None = None) -> Iterator[bytes]:
        """All jobs as `--job-info` objects, oldest first: JSON lists of whole jobs, about 4 MiB at most each.

        A job that alone is larger makes a list in parts: all but the last are `framing.Cut`. Jobs that are
        purged meanwhile may be missing.
        """

    def final_jobs(self, filters: Mapping[str, Any]) -> list[str]:
        """Ids of the final jobs that `filters` (of `list_jobs`, no limit) pick: what a purge deletes."""

    def prunable(self, before: float, keep: int, limit: int) -> list[str]:
        """Ids of the jobs that `prune` would delete now, oldest first."""

    def blobs_of(self, job: str) -> list[str]:
        """sha256 hex digests of the blobs the job needs, sorted; empty for an unknown job."""

    def blobs(self) -> set[str]:
        """Digests (and names of lists of them, see `content_lists`) that any job needs; all other blobs can go."""

    def resume_record(self, job: str) -> ResumeRecord:
        """What `--resume` needs, for an id, prefix or `last`."""

    def effects(self, job: str, node: str) -> list[tuple[int, str]]:
        """(step, JSON text) of the node's tasks that went well and had effects, in the order of the steps."""
