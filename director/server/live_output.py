"""The output of running steps for those who follow their job: each node sends it once, for any number of viewers.

Pieces wait in one list for all viewers; a viewer has only its place in it. What has left the list before a viewer came
to it is a gap between the offsets of its pieces. Of a task that has ended the ledger has the output, so that only the
task is named here. A viewer that has missed such names reads the ended tasks anew.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gevent.event
import ujson

from director import states as st
from director.errors import BusyError, ProtocolError
from director.protocol import messages
from director.protocol.results import TaskResult
from director.runtime.greenlets import Pace
from director.scheduler.job_state import JobRun
from director.server.open_jobs import OpenJobs
from director.server.roster import NodeRecord, Send

KEPT = 16 * 1024 * 1024  # bytes of pieces
TASK = 100  # bytes that the name of an ended task counts
VIEWERS = 200
AT_ONCE = 512 * 1024  # bytes that a viewer takes at a time
MESSAGES = 2000.0  # each second, of all nodes that are followed
BYTES = 16 * 1024 * 1024  # each second, the same
SOONEST = 0.04  # seconds between two messages of one node
LEAST = 1024  # bytes in a message
STREAMS = ("stdout", "stderr")


class _Entry(NamedTuple):
    """A piece, or with an empty `text` a task that has ended."""

    job: str
    node: str
    step: int
    text: bytes

    @property
    def weight(self) -> int:
        return len(self.text) or TASK


@dataclass(slots=True)
class _Followed:
    """One job: how often it is followed, and the nodes that send its output."""

    run: JobRun
    viewers: int = 0
    nodes: set[str] = field(default_factory=set)


class Viewer:
    """One reader of one job; use it in a `with`.

    Attributes:
        behind: it was too slow: ended tasks may be missing in what it takes.
    """

    def __init__(self, output: LiveOutput, job: str, nodes: frozenset[str] | None, step: int | None, at: int) -> None:
        self._output, self.job, self._nodes, self._step, self._at = output, job, nodes, step, at
        self.behind = False

    def may_see(self, node: str) -> bool:
        """Whether it follows this node."""
        return self._nodes is None or node in self._nodes

    def take(self) -> tuple[list[bytes], list[tuple[int, str]]]:
        """The next pieces, and the tasks that have ended after them."""
        entries, self._at, lost = self._output.since(self._at)
        self.behind = self.behind or lost
        pieces: list[bytes] = []
        ended: list[tuple[int, str]] = []
        for entry in entries:
            if entry.job == self.job and self._step in (None, entry.step) and self.may_see(entry.node):
                if entry.text:
                    pieces.append(entry.text)
                else:
                    ended.append((entry.step, entry.node))
        return pieces, ended

    def has_more(self) -> bool:
        """Whether there is something to take."""
        return self._output.next > self._at

    def wait(self, seconds: float) -> None:
        """Block until something comes, for at most so many seconds; follow nodes that are new to the job."""
        self._output.refresh(self)
        if not self.has_more():
            self._output.more.wait(seconds)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self._output.close(self)


class LiveOutput:
    """The list of pieces, and who follows what.

    Attributes:
        next: number of the next entry.
        more: set for a moment when there is one.
    """

    def __init__(self, jobs: OpenJobs, send: Send) -> None:
        self._jobs, self._send = jobs, send
        self._followed: dict[str, _Followed] = {}
        self._kept: deque[_Entry] = deque()
        self._bytes = 0
        self._paced = int(MESSAGES * SOONEST)  # nodes that were followed when the pace was told to all
        self.next = 0
        self.more = gevent.event.Event()

    # -- viewers ------------------------------------------------------------------------------------------

    def open(self, run: JobRun, nodes: frozenset[str] | None, step: int | None) -> Viewer:
        """A new viewer of an open job; it gets what comes from now on, running steps from their start.

        Raises BusyError: there are too many viewers.
        """
        if sum(followed.viewers for followed in self._followed.values()) >= VIEWERS:
            raise BusyError(f"{VIEWERS} viewers follow jobs; try again when some have left")
        followed = self._followed.setdefault(run.id, _Followed(run))
        followed.viewers += 1
        viewer = Viewer(self, run.id, nodes, step, self.next)
        followed.nodes.update(filter(viewer.may_see, run.nodes))
        self._tell(followed, list(filter(viewer.may_see, run.nodes)), on=True)
        self._slow_down()
        return viewer

    def refresh(self, viewer: Viewer) -> None:
        """Follow the nodes that the job got since, as those that were chosen for run-once steps."""
        followed = self._followed[viewer.job]
        if len(followed.nodes) < len(followed.run.nodes):
            new = [name for name in followed.run.nodes if name not in followed.nodes and viewer.may_see(name)]
            followed.nodes.update(new)
            self._tell(followed, new, on=True)

    def close(self, viewer: Viewer) -> None:
        """The viewer has left; with the last one of the job its nodes send nothing more."""
        followed = self._followed[viewer.job]
        followed.viewers -= 1
        if not followed.viewers:
            del self._followed[viewer.job]
            self._tell(followed, followed.nodes, on=False)
        if not self._followed:
            self._kept.clear()
            self._bytes = 0
        self._paced = min(self._paced, max(int(MESSAGES * SOONEST), self._count()))

    def since(self, number: int) -> tuple[list[_Entry], int, bool]:
        """Entries from this number on, the number to go on from, and whether some of them have gone."""
        first = self.next - len(self._kept)
        lost = number < first
        number = max(number, first)
        found: list[_Entry] = []
        size = 0
        for index in range(number - first, len(self._kept)):
            entry = self._kept[index]
            found.append(entry)
            size += entry.weight
            if size >= AT_ONCE:
                break
        return found, number + len(found), lost

    # -- what comes ---------------------------------------------------------------------------------------

    def online(self, record: NodeRecord) -> None:
        """The node's session has begun: it knows nothing of who follows its jobs."""
        for job in record.jobs:
            followed = self._followed.get(job)
            if followed is not None and record.name in followed.nodes:
                self._tell(followed, [record.name], on=True)

    def take(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Pieces of a node; those of tasks that it does not run or nobody follows are dropped. Raises ProtocolError."""
        start = 0
        for piece in fields["pieces"]:
            if not (isinstance(piece, list) and len(piece) == 6 and isinstance(piece[0], str)):
                raise ProtocolError("a malformed piece of output")
            job, step, attempt, stream, offset, size = piece
            numbers = (step, attempt, stream, offset, size)
            if any(type(n) is not int or not 0 <= n < messages.WHOLE_LIMIT for n in numbers) or stream > 1:
                raise ProtocolError("a malformed piece of output")
            data = payload[start : start + size]
            start += size
            if data and self._may_send(record, job, step):
                shown = {
                    "node": record.name, "step": step, "number": step + 1, "attempt": attempt,
                    "stream": STREAMS[stream], "offset": offset, "data": b64encode(data).decode(),
                }  # fmt: skip
                self._add(_Entry(job, record.name, step, ujson.dumps(shown, escape_forward_slashes=False).encode()))

    def ended(self, job: str, node: str, results: Iterable[TaskResult]) -> None:
        """These results are in the ledger."""
        if job in self._followed:
            for result in results:
                self._add(_Entry(job, node, result.step, b""))

    # -- inside -------------------------------------------------------------------------------------------

    def _may_send(self, record: NodeRecord, job: str, step: int) -> bool:
        followed = self._followed.get(job)
        node = followed.run.nodes.get(record.name) if followed is not None else None
        return node is not None and step < node.cursor and node.states[step] in st.OPEN

    def _add(self, entry: _Entry) -> None:
        self._kept.append(entry)
        self._bytes += entry.weight
        self.next += 1
        while self._bytes > KEPT:
            self._bytes -= self._kept.popleft().weight
        self.more.set()
        self.more.clear()

    def _count(self) -> int:
        """How many nodes send, each counted once for each job."""
        return max(1, sum(len(followed.nodes) for followed in self._followed.values()))

    def _slow_down(self) -> None:
        """Tell the pace again when far more nodes are followed than when most of them were told theirs."""
        if self._count() > 2 * self._paced:
            self._paced = self._count()
            for followed in list(self._followed.values()):
                self._tell(followed, followed.nodes, on=True, anew=False)

    def _tell(self, followed: _Followed, names: Iterable[str], on: bool, anew: bool = True) -> None:
        """Let nodes send, or stop; the more nodes are followed, the less often each of them sends.

        Args:
            anew: they send from the start of each running step.
        """
        count = self._count()
        every = max(SOONEST, count / MESSAGES)
        most = min(messages.PIECES_LIMIT, max(LEAST, int(BYTES * every / count)))
        header = messages.encode("follow", job=followed.run.id, on=on, anew=anew, every=round(every, 3), most=most)
        pace = Pace()
        for name in list(names):
            record = self._jobs.online(name)
            node = followed.run.nodes.get(name)
            if record is not None and node is not None and node.open:
                self._send(record, header, ())
            pace.pause()
