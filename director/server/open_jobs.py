"""The open jobs: their states, what nodes get with their steps, and which of them each node has tasks of."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ujson
from gevent.event import Event

from director import states as st
from director.errors import BusyError
from director.scheduler.fair_queue import FairQueue
from director.scheduler.job_state import JobRun, RangeEnd
from director.scheduler.node_run import Load, NodeRun
from director.server.events import Events
from director.server.ledger_client import LedgerClient
from director.server.roster import NodeRecord, Roster, Send
from director.server.sealed_secrets import SealedSecrets

TASKS_LIMIT = 20_000_000  # of all open jobs; beyond it submissions are refused
OPEN_JOBS = 50_000
REASON_LIMIT = 2000  # characters
CHUNKS_LIMIT = 64 * 1024 * 1024  # bytes


class ChunkCache:
    """Chunks by job and first step, in memory up to a bound; the least recently used one is dropped first."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0

    def keep(self, job: str, first: int, chunk: bytes) -> None:
        """Keep a chunk that was used now."""
        self._kept[job, first] = chunk
        self._size += len(chunk)
        while self._size > CHUNKS_LIMIT and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1])

    def get(self, job: str, first: int) -> bytes:
        """One chunk. Raises DirectorError: it must be read, and the ledger process does not answer."""
        chunk = self._kept.get((job, first))
        if chunk is None:
            chunk = self._ledger.ask("chunk", job=job, step=first)
            self.keep(job, first, chunk)
        self._kept.move_to_end((job, first))
        return chunk

    def forget(self, run: JobRun) -> None:
        """The job is over."""
        for first in run.chunks.firsts:
            self._size -= len(self._kept.pop((run.id, first), b""))


class OpenJobs:
    """All jobs that are not final.

    Attributes:
        runs: job id to its state.
        changed: set for a moment whenever a job changed; wait for it, never clear it.
        tasks: tasks of all these jobs.
        due: nodes, by job, that may get more steps.
        chunks: encoded steps.
        heads: job id to what goes with the first steps of each node, and its JSON; it names no stage and no node.
        submitters: job id to the uid and gid of who submitted it, -1 where they are not known.
        sealed: the secrets of these jobs.
        events: gets what happens to jobs and tasks.
        accepting: jobs whose acceptance is not on disk, to the operations that must follow the `accept`; None once
            that was given to the ledger.
    """

    def __init__(self, ledger: LedgerClient, roster: Roster, send: Send) -> None:
        self._ledger, self._roster = ledger, roster
        self.runs: dict[str, JobRun] = {}
        self.changed = Event()
        self.tasks = 0
        self.due: FairQueue[str] = FairQueue()
        self.chunks = ChunkCache(ledger)
        self.heads: dict[str, tuple[Mapping[str, Any], bytes]] = {}
        self.submitters: dict[str, tuple[int, int]] = {}
        self.sealed = SealedSecrets(self.runs, ledger, send)
        self.accepting: dict[str, list[Any] | None] = {}
        self.events = Events()
        self._loads: dict[str, Load] = {}  # by node

    def check_room(self) -> None:
        """Check that more jobs can be accepted. Raises BusyError: too many tasks or jobs are open."""
        if self.tasks > TASKS_LIMIT or len(self.runs) >= OPEN_JOBS:
            raise BusyError(f"{self.tasks} tasks of {len(self.runs)} jobs are open; try again when some have ended")

    def online(self, name: str) -> NodeRecord | None:
        """The node's record when it has a session, else None."""
        record = self._roster.nodes.get(name)
        return record if record is not None and record.online and record.peer is not None else None

    def ready(self, name: str) -> NodeRecord | None:
        """The same for a node that may get new steps."""
        record = self.online(name)
        return record if record is not None and not record.quarantine else None

    def add(self, run: JobRun, row: Mapping[str, Any]) -> None:
        """Take in a job; `row` has its name, kind, options and creation time."""
        self.runs[run.id] = run
        self.tasks += run.total
        run.since = to_monotonic(row["created_at"])
        options = row["options"]
        run.valid_for, run.timeout = options.get("valid_for", 3600.0), options.get("timeout", 0.0)
        self.submitters[run.id] = options.get("uid", -1), options.get("gid", -1)
        head = {**head_of(row["name"], row["kind"], options), "resumed": "resumes" in run.meta}
        self.heads[run.id] = head, ujson.dumps(head).encode()
        for node in run.nodes.values():
            self.attach(run, node)

    def head(self, run: JobRun, node: NodeRun) -> bytes:
        """The JSON that goes with the node's first steps; of `--arg` it has what these steps may use."""
        if run.id not in self.heads:
            return b""
        head, encoded = self.heads[run.id]
        found = own_args(head, run.meta, lambda first, last: _may_have(run, node, first, last))
        return encoded if found is head else ujson.dumps(found).encode()

    def attach(self, run: JobRun, node: NodeRun) -> None:
        """The node may have got tasks of the job."""
        record = self._roster.nodes.get(node.node)
        if node.open and record is not None:
            record.jobs[run.id] = node
            record.due = 0.0
            node.move_load(self._loads.setdefault(node.node, Load()))

    def remove(self, run: JobRun) -> None:
        """The job is over, or was not accepted."""
        if self.runs.pop(run.id, None) is None:
            return
        self.tasks -= run.total
        self.heads.pop(run.id, None)
        self.submitters.pop(run.id, None)
        self.chunks.forget(run)
        self.sealed.forget(run.id)
        for node in run.nodes.values():
            node.move_load(Load())
            self.detach(run, node)

    def detach(self, run: JobRun, node: NodeRun) -> None:
        """The node has no open task of the job."""
        record = self._roster.nodes.get(node.node)
        if record is not None:
            record.jobs.pop(run.id, None)

    def notify(self) -> None:
        """Wake those that wait for `changed`."""
        self.changed.set()
        self.changed.clear()

    def record_ends(self, run: JobRun, ends: Sequence[RangeEnd]) -> None:
        """Write ends to the ledger, behind the acceptance of their job."""
        if not ends:
            return
        operation = self.ends_operation(run, ends)
        early = self.accepting.get(run.id)
        if early is not None:
            early.append(operation)
        else:
            self._ledger.write(operation)

    def ends_operation(self, run: JobRun, ends: Sequence[RangeEnd]) -> Any:
        """The ledger operation that records ends."""
        now = time.time()
        for end in ends:
            self.events.tasks(run, end.node)
            if not run.nodes[end.node].open:
                self.detach(run, run.nodes[end.node])
        items = [(end.node, end.first, end.last, chr(end.state), end.reason[:REASON_LIMIT], now) for end in ends]
        return ("range_ends", {"job": run.id, "items": items})


def _may_have(run: JobRun, node: NodeRun, first: int, last: int) -> bool:
    """Whether the node has one of these steps, or may be chosen for it."""
    if any(letter != st.NONE for letter in node.states[first : last + 1]):
        return True
    unchosen = (run.blocks[index] for index in run.barriers.unchosen)
    return any(b.first <= last and first <= b.last and node.node in (b.choose or ()) for b in unchosen)


def own_args(head: Mapping[str, Any], meta: Mapping[str, Any], has: Callable[[int, int], bool]) -> Mapping[str, Any]:
    """The head with the `--arg` values of a node's own steps; `has` says whether one of a range of steps is its own."""
    args, uses = head["options"].get("args"), meta.get("args")
    if not args or not uses:
        return head
    own = {name: text for name, text in args.items() if name not in uses or any(has(*part) for part in uses[name])}
    return {**head, "options": {**head["options"], "args": own}}


def head_of(name: str, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the nodes of a job learn of it: kind, those of its options that clients use, and the name of a file."""
    used = {option: options[option] for option in ("args", "no_cache", "timeout") if option in options}
    return {"name": name if kind == "orchestrate" else "", "kind": kind, "options": used}


def to_monotonic(at: float) -> float:
    """An epoch time on the monotonic clock; a time that lies ahead is now."""
    return time.monotonic() - max(0.0, time.time() - at)
