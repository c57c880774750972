"""The contract of a store, the engine behind the ledger of jobs, results and nodes.

One process uses a store: one thread calls `apply` and `tidy`, others call the queries at the same time.
`sqlite.py` keeps the contract, in a file and in memory; the tests in `tests/stores/` run over both.

Operations. `apply` takes tuples `(name, fields)` or `(name, fields, body)`; `fields` is a JSON object, times
are epoch seconds (float). After a crash every operation may be applied again and then changes nothing.

- `accept` + body (a list of bytes, the chunks of encoded steps): a new job. `{"id", "name", "kind", "created_at",
  "submitted_by", "step_count", "node_count", "task_count", "digest", "options": {}, "meta": {}, "nodes": [name],
  "cursors"?: {name: int}, "digests"?: [sha256], "reads"?: [name]}`. `reads` are the nodes that the job takes files or
  values from, and does not run on. `digest` is of the submission: the same id and digest change
  nothing, another digest is a DuplicateJobError. `digests` are the blobs that the job needs, or names of lists of
  them (`transfer.blob_lists`); a mapping with digests as keys will do. `meta["chunks"]` has the first step of each
  chunk, `[{"first"}]`. With `"resumes": id` the job continues
  another one: it takes that job's chunks when it has none, and what succeeded there is `cached` here, with its
  effects, but for the steps of `"again": {node: [step]}`; GoneJobError when that job was purged.
- `seal` + body (a list of bytes): `{"job", "names": [name], "nodes": [name]}`: the encrypted secrets of a job that was
  just accepted, by name, then the box of each node. The end of the job deletes them.
- `cursors` `{"job", "cursors": {name: int}}`: steps below the cursor may have been delivered; it may go down again.
- `results` + body (stdout then stderr of each result, one after another): `{"job", "node", "results":
  [TaskResult as a list]}`. The first result of a task stays. When a range end made the task final before, the
  result is kept as its late result.
- `late_results` + body, like `results`: kept beside the state that the task has; the first one stays. The task's own
  result, sent again, is no late result. What is not below the node's cursor is ignored.
- `range_ends` `{"job", "items": [[node, first, last, state, reason, at]]}`: tasks of the node with
  first <= step <= last that are not final yet are now in this final state.
- `job` `{"id", "state"?, "started_at"?, "finished_at"?, "counts"?, "cancel_at"?, "cancel_reason"?}`: changes the
  given fields; once `state` is final, nothing of it changes any more.
- `plan` `{"id", "meta"}`: replaces the plan's meta (a run-once step got its node).
- `node` `{"name", "key"?, "address"?, "version"?, "labels"?, "facts"? (JSON text), "args"?, "last_seen"?,
  "reason"?, "revoked"?, "journal_position"?, "instance"?, "token"?, "renew_until"?, "next_key"?, "quarantine"?,
  "sealing"?}`: makes or changes a node; what is not given stays.
- `forget_node` `{"name"}` · `node_seen` `{"seen": {name: epoch}}` (ignores unknown names).
- `token` `{"id", …}`: makes or replaces an enrolment token.
- `revoke_key` `{"key", "name", "reason", "at", "superseded"}`: the key may not connect any more; the first reason
  stays. Of keys that only were superseded by another key of their name the newest `SUPERSEDED` are kept.
- `audit` `{"entry": {…}, "nodes"?: [name], "run"?, "stamp"?}`: a line at the end of the audit log
  (`audit_chain`). Within a run stamps only rise; one that is not higher than the last is a repetition.
- `audit_kept` `{"number"}`: the lines up to this one are in the files of the log, so the store can forget them.
- `audit_head` `{"number", "hash"}`: the log ends with this line, and the store has none of its lines.
- `purge_jobs` `{"ids": []}`: deletes those of them that are final; `tidy` frees the space of large ones.
- `prune` `{"before": epoch, "keep": count, "limit": n}`: deletes the oldest final jobs, n at most, that were
  created before `before` or are not among the newest `keep` jobs. A job that was accepted after a younger one
  counts as young: the clock was behind when it was created.

An operation on a job that the store does not have (it was purged) is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from director.errors import StoreError
from director.stores.audit_chain import Head

Op = tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], Any]
Live = Mapping[str, Mapping[str, Any]]

NODE_FIELDS = (
    "key", "address", "version", "labels", "facts", "args", "last_seen", "reason", "revoked", "journal_position",
    "instance", "token", "renew_until", "next_key", "quarantine", "sealing",
)  # fmt: skip
SUPERSEDED = 10_000  # keys; one that is forgotten is a stranger's again, for whom its name is taken


class DuplicateJobError(StoreError):
    """Another job has this id already; the submitter must choose a new one."""


class BadOperationError(StoreError):
    """An operation is malformed; it can only be dropped, as applying it again fails again."""


class GoneJobError(StoreError):
    """The job to be resumed was purged meanwhile; it has to be submitted anew."""


class JobHead(NamedTuple):
    """A job without its plan; `counts` is JSON text, None until the server has sent counts."""

    id: str
    name: str
    kind: str
    state: str
    step_count: int
    node_count: int
    task_count: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    submitted_by: str
    counts: str | None
    digest: str
    cancel_at: float | None
    cancel_reason: str


class Store(Protocol):
    """A store. Every method may raise StoreError; JSON comes as UTF-8 bytes in the shapes of docs/.

    An `id` of a query is exact unless the method says that it takes a prefix or `last`.

    `live` is what the server has in memory of jobs that are not final: `{job: {"state", "tasks": {counts},
    "started_at", "nodes": {node: letters, one per step}, "running": {node: {step: started_at}}}}`, the last
    two optional. It beats the ledger for tasks that have no result.
    """

    def apply(self, ops: Sequence[Op]) -> None:
        """Apply all operations or none; they are durable on return.

        Raises:
            DuplicateJobError, GoneJobError, BadOperationError: trying again will not help; apply the operations one
                by one to find which is refused.
            StoreError: nothing could be written; a later try may succeed.
        """

    def tidy(self) -> bool:
        """Free some of the space of purged jobs; whether there is more to free."""

    def close(self) -> None:
        """End the use of the store; a second call does nothing."""

    # recovery

    def lost(self) -> str:
        """What the store has lost of what was applied, as a sentence; "" for nothing. The same until `settle`.

        After a loss the store holds an earlier state: jobs may be missing, and open jobs may have run further.
        """

    def settle(self) -> None:
        """Clear `lost`: the consequences of the loss are on disk."""

    def open_jobs(self) -> Iterator[dict[str, Any]]:
        """Each job that is not final, oldest first: `{…JobHead, "options", "meta", "nodes"}`.

        `nodes` is in the order of the job's nodes: `{name: {"cursor": int, "results": [(step, state letter)],
        "range_ends": [(first, last, state letter)]}}`. A result beats a range end, an earlier range end a later one.
        """

    def chunk(self, job: str, step: int) -> bytes:
        """The chunk of the job's encoded steps that has this step. Raises NotFoundError."""

    def sealed(self, job: str, node: str) -> dict[str, Any]:
        """`{"box": text, "secrets": {name: text}}` of an open job for a node, bytes in base64; "" without a box."""

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes by name: `{"name", …NODE_FIELDS}`; `labels` and `args` decoded, `facts` as JSON text."""

    def tokens(self) -> list[dict[str, Any]]:
        """The fields of all tokens, by id."""

    def revoked_keys(self) -> list[dict[str, Any]]:
        """The fields of all revoked keys, by key."""

    def audit_head(self) -> Head:
        """The end of the audit log's chain."""

    def audit_lines(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Numbers and texts of the lines after number `after` that the store has, at most so many."""

    def find(self, id: str) -> dict[str, str] | None:
        """`{"state", "digest"}` of the job, None when there is none."""

    # queries

    def resolve(self, id: str) -> str:
        """The exact id for an id, a unique prefix or `last`.

        Raises:
            NotFoundError: no job has it.
            UsageError: several ids begin so; it names some.
        """

    def list_jobs(self, filters: Mapping[str, Any], live: Live) -> bytes:
        """A JSON list of jobs, newest last.

        `filters`, all optional: `ids` (ids, prefixes or `last`: exactly these, all other filters are ignored), `limit`
        (the newest n; 0 or absent: all), `state` (names), `since` (epoch seconds of creation), `nodes`
        (names: jobs on any of them; None: on any node), `within` (names: jobs that run on and read from no other node,
        also with `ids`; None: any). Raises what `resolve` raises.
        """

    def job_info(self, id: str, live: Live) -> Iterator[bytes]:
        """The JSON object of `--job-info`, in parts of about 1 MiB. Raises NotFoundError."""

    def outputs(self, id: str, step: int | None, nodes: Sequence[str] | None) -> Iterator[bytes]:
        """Results with outputs in base64, as `--follow` shows them: JSON lists, as those of `export_jobs`.

        Of one step or all, on these nodes or all. Raises NotFoundError.
        """

    def outputs_of(self, id: str, tasks: Sequence[tuple[int, str]]) -> bytes:
        """The same of these tasks, each step and node, as far as they fit 1 MiB, at least the first of them.

        The number of tasks that were looked up, then one JSON list of the results among them.
        """

    def node_tasks(self, id: str, node: str | None, live: Live) -> list[dict[str, Any]]:
        """Tasks of a job as in `job_info`, without outputs, each with `number`, `verb` and `text`: all of this node.

        Without a node, those that are final and not well, alike ones once with the list of their `nodes`.
        Raises NotFoundError.
        """

    def reach(self, id: str) -> list[str]:
        """The nodes that the job runs on or reads from, by name. Raises NotFoundError."""

    def reached(self) -> list[str]:
        """The nodes that any job runs on or reads from, by name."""

    def export_jobs(self, live: Live, within: Sequence[str] | None = None) -> Iterator[bytes]:
        """All jobs as `--job-info` objects, oldest first: JSON lists of whole jobs, about 4 MiB each or one larger job.

        `within` is that of `list_jobs`.

        A list comes in parts of about 1 MiB, all but its last `framing.Cut`. Jobs that are purged meanwhile may be
        missing.
        """

    def final_jobs(self, filters: Mapping[str, Any]) -> list[str]:
        """Ids of the final jobs that `filters` (of `list_jobs`, `limit` is ignored) select."""

    def prunable(self, before: float, keep: int, limit: int) -> list[str]:
        """Ids of the jobs that `prune` would delete now, oldest first."""

    def blobs(self) -> set[str]:
        """Digests (and names of lists of them, see `transfer.blob_lists`) that any job needs; others can go."""

    def resume_record(self, id: str) -> dict[str, Any]:
        """What `--resume` needs, for an id, prefix or `last`.

        `{…JobHead, "options", "meta", "succeeded", "seeded", "again"}`. `succeeded` is `[(flags, [node])]`, flags a
        text with `1` for each step that ended well and `0` for the others; `seeded` are the nodes where such a step had
        effects. `again` is `{node: [step]}` of steps that ended well and have to run again, as they set secret values
        and others are left to run there; their flag is `0`. Raises what `resolve` raises.
        """

    def effects(self, job: str, node: str) -> list[tuple[int, str]]:
        """(step, JSON text) of the node's tasks that ended well and had effects, by step."""
