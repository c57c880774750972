"""Files that travel from nodes: to the submitter (FETCH) and to other nodes (`COPY --from`), through the server.

Nodes choose nothing here: what is read, on which node, for whom and where it goes is in the plan. The hub
only looks who may speak of which step and passes lists and pieces on to the process that keeps files
(`workers/files.py`); it never looks into them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from director.errors import ProtocolError
from director.protocol import messages
from director.runtime.greenlets import periodic
from director.scheduler.job_state import JobRun
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler
from director.server.value_queries import Send, ValueQueries, opened
from director.workers.supervisor import Supervisor

log = logging.getLogger(__name__)

TICK = 0.5
SILENCE = 15.0  # seconds without a piece after which a source is asked again
TOUCH = 600.0  # seconds between two signs that contents of open jobs are needed
EARLY = 1000  # frames that wait for the process that keeps files; nodes send again what is lost
NEVER = float("-inf")
DIGESTS = 5000  # in a frame
PIECES = 32  # pieces asked for in one message
Loaned = tuple[str, int, int]  # job, step, set


@dataclass(slots=True)
class Loan:
    """One reading of a source, for all nodes that take this set of this step.

    Attributes:
        asks: nodes that wait for it.
        asked: monotonic time of the last word from the source.
        answer: JSON of the sources, once all is here.
        digests: contents that these nodes may get for this job.
    """

    run: JobRun
    step: int
    number: int
    spec: dict[str, Any]
    asks: set[str] = field(default_factory=set)
    asked: float = NEVER
    answer: bytes = b""
    digests: set[str] = field(default_factory=set)

    @property
    def source(self) -> str:
        """The node that is read."""
        name: str = self.spec["from"]
        return name

    @property
    def key(self) -> list[Any]:
        """The name of its upload."""
        return [self.run.id, self.step, self.number, self.source]


class NodeTransfer:
    """What nodes ask of each other, by way of the server.

    Args:
        hello: settings of the process that keeps files; it is started when it is first needed.
        grace: see `ValueQueries`.
    """

    def __init__(
        self, desk: Scheduler, roster: Roster, hello: dict[str, Any], grace: float, fatal: Callable[[str], None]
    ) -> None:
        self._desk, self._roster = desk, roster
        self._hello, self._fatal = hello, fatal
        self._send: Send = lambda record, header, frames: False
        self._queries = ValueQueries(desk, roster, grace)
        self._loans: dict[Loaned, Loan] = {}
        self._landing: dict[tuple[Any, ...], float] = {}  # keys of FETCH uploads to the time of the last word
        self._child: Supervisor | None = None
        self._early: list[tuple[dict[str, Any], bytes]] = []
        self._touched = time.monotonic()
        self.kinds: dict[str, Callable[[NodeRecord, dict[str, Any], bytes], None]] = {
            "query": lambda record, fields, body: self._queries.ask(record, fields),
            "borrow": self.borrow, "offer": self.offer, "piece": self.piece,
        }  # fmt: skip
        periodic("exchange", TICK, self.tick)

    def connect(self, send: Send) -> None:
        """Messages to nodes go this way."""
        self._send = self._queries.send = send

    def stop(self) -> None:
        """End the process that keeps files."""
        if self._child is not None:
            self._child.stop()

    def admits(self, job: str, digest: str) -> bool:
        """Whether this content was lent to this job."""
        return any(digest in loan.digests for (name, _, _), loan in self._loans.items() if name == job)

    # -- COPY --from --------------------------------------------------------------------------------------

    def borrow(self, record: NodeRecord, fields: dict[str, Any], body: bytes) -> None:
        """A node asks for sources that its step has on another node."""
        job, step, number = fields["job"], fields["step"], fields["set"]
        found = opened(self._desk, record, job, step, "copy")
        if isinstance(found, str):
            self._answer(record, job, step, error=found)
            return
        run, spec = found
        if not 0 <= number < len(spec["sets"]):
            self._answer(record, job, step, error="the plan has no such sources")
            return
        loan = self._loans.get((job, step, number))
        if loan is None:
            loan = self._loans[job, step, number] = Loan(run, step, number, spec)
        loan.asks.add(record.name)
        self._advance(loan, record)

    def _advance(self, loan: Loan, newcomer: NodeRecord | None = None) -> None:
        """Ask the source when it may be read, answer when all is here; a newcomer is told what it waits for."""
        if loan.answer:
            self._settle(loan, "")
            return
        source = self._roster.nodes.get(loan.source)
        if source is None:
            self._settle(loan, f"there is no node {loan.source} any more")
            return
        why = self._why_not(loan, source)
        if why:
            loan.asked = NEVER
        elif time.monotonic() - loan.asked > SILENCE:
            self._lend(loan, source)
        if newcomer is not None:
            self._answer(newcomer, loan.run.id, loan.step, why=why or f"{loan.source} is being read")

    def _why_not(self, loan: Loan, source: NodeRecord) -> str:
        """Why the source cannot be read now."""
        if not source.online:
            return f"{loan.source}, which has the files, is offline"
        node = loan.run.nodes.get(loan.source)
        if node is not None and not loan.run.passed(node, loan.step):
            return f"{loan.source}, which has the files, has not ended step {node.first_open()}"
        return ""

    def _lend(self, loan: Loan, source: NodeRecord) -> None:
        spec = loan.spec
        header = messages.encode(
            "lend", job=loan.run.id, step=loan.step, set=loan.number, patterns=spec["sets"][loan.number],
            exclude=spec["exclude"], hidden=spec["hidden"], parents=spec["parents"],
        )  # fmt: skip
        if self._send(source, header, ()):
            loan.asked = time.monotonic()

    def _settle(self, loan: Loan, error: str) -> None:
        """Answer all that wait; after an error the next one who asks has the source read again."""
        for name in loan.asks:
            record = self._roster.nodes.get(name)
            if record is not None:
                self._answer(record, loan.run.id, loan.step, error=error, body=loan.answer)
        loan.asks.clear()
        if error:
            self._loans.pop((loan.run.id, loan.step, loan.number), None)

    def _answer(
        self, record: NodeRecord, job: str, step: int, error: str = "", why: str = "", body: bytes = b""
    ) -> None:
        self._send(record, messages.encode("sources", job=job, step=step, error=error, why=why), (body,))

    # -- what nodes send ----------------------------------------------------------------------------------

    def offer(self, record: NodeRecord, fields: dict[str, Any], body: bytes) -> None:
        """A part of a list of files: of a FETCH that the node runs, or of what it was asked to lend."""
        job, step, number = fields["job"], fields["step"], fields["set"]
        frame = {"part": fields["part"], "parts": fields["parts"], "error": fields["error"][:2000]}
        key = [job, step, number, record.name]
        loan = self._loans.get((job, step, number))
        if loan is not None and loan.source == record.name:
            if not loan.answer:
                loan.asked = time.monotonic()
                self._keep({"offer": key, **frame}, body)
            return
        found = opened(self._desk, record, job, step, "fetch")
        if isinstance(found, str) or number != 0:
            self._stored(record, key, "the plan has nothing to fetch here", False, b"")
            return
        options = self._desk.options(job)
        to = {"folder": found[1]["folder"], "uid": options.get("uid", -1), "gid": options.get("gid", -1)}
        self._landing[tuple(key)] = time.monotonic()
        self._keep({"offer": key, **frame, "land": to}, body)

    def piece(self, record: NodeRecord, fields: dict[str, Any], body: bytes) -> None:
        """A piece of a file that was asked for."""
        key = (fields["job"], fields["step"], fields["set"], record.name)
        loan = self._loans.get(key[:3])
        if loan is not None and loan.source == record.name:
            loan.asked = time.monotonic()
        elif key not in self._landing:
            if fields["job"] in self._desk.runs:
                raise ProtocolError("a piece that nobody asked for")
            return
        frame = {"piece": key, "file": fields["file"], "offset": fields["offset"], "error": fields["error"][:2000]}
        self._keep(frame, body)

    # -- the process that keeps files ---------------------------------------------------------------------

    def _keep(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Give a frame to the process that keeps files."""
        if self._child is None:
            self._child = Supervisor(
                "files", "director.workers.files", self._hello, on_ready=self._on_ready,
                on_frame=self._take, on_death=self._on_death, fatal=self._fatal,
            )  # fmt: skip
        if self._child.ready:
            self._child.send(header, body)
        elif len(self._early) < EARLY:
            self._early.append((header, body))

    def _on_ready(self, child: Supervisor) -> None:
        early, self._early = self._early, []
        for header, body in early:
            child.send(header, body)

    def _on_death(self, child: Supervisor) -> None:
        """What was under way begins again: sources are asked anew, nodes offer again by themselves."""
        self._landing.clear()
        self._early.clear()
        for loan in self._loans.values():
            loan.asked = NEVER

    def _take(self, child: Supervisor, header: dict[str, Any], body: bytes) -> None:
        if "pull" in header:
            self._pull(header["pull"], header["pieces"])
        elif "stored" in header:
            record = self._roster.nodes.get(header["stored"][3])
            self._landing.pop(tuple(header["stored"]), None)
            if record is not None:
                self._stored(record, header["stored"], header["error"], header["changed"], body)
        else:
            self._lent(header, body)

    def _pull(self, key: list[Any], pieces: list[Any]) -> None:
        record = self._roster.nodes.get(key[3])
        for start in range(0, len(pieces), PIECES):
            some = pieces[start : start + PIECES]
            if record is not None:
                self._send(record, messages.encode("pull", job=key[0], step=key[1], set=key[2], pieces=some), ())

    def _stored(self, record: NodeRecord, key: list[Any], error: str, changed: bool, body: bytes) -> None:
        header = messages.encode("stored", job=key[0], step=key[1], set=key[2], error=error, changed=changed)
        self._send(record, header, (body,))

    def _lent(self, header: dict[str, Any], body: bytes) -> None:
        job, step, number, source = header["lent"]
        loan = self._loans.get((job, step, number))
        if loan is None:
            return
        loan.digests.update(header.get("digests", ()))
        if header.get("more"):
            return
        record = self._roster.nodes.get(source)
        if record is not None:
            self._stored(record, header["lent"], header["error"], True, b"")
        loan.answer = body
        self._settle(loan, f"{source}: {header['error']}" if header["error"] else "")

    # -- time ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Forget what belongs to jobs that are over; go on with what waits for a source."""
        for key, loan in list(self._loans.items()):
            if loan.run.id not in self._desk.runs:
                del self._loans[key]
                self._drop(loan.key)
            elif loan.asks:
                self._advance(loan)
        for upload in [upload for upload in self._landing if upload[0] not in self._desk.runs]:
            del self._landing[upload]
            self._drop(list(upload))
        now = time.monotonic()
        if now - self._touched > TOUCH:
            self._touched = now
            for loan in self._loans.values():
                self._touch(loan)

    def _touch(self, loan: Loan) -> None:
        left = iter(loan.digests)
        while some := list(islice(left, DIGESTS)):
            self._keep({"touch": some})

    def _drop(self, key: list[Any]) -> None:
        if self._child is not None:
            self._keep({"drop": key})
