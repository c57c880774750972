"""Files that travel from nodes through the server: to the submitter (FETCH) and to other nodes (`COPY --from`).

The plan says what is read, on which node, for whom and where it goes; nodes choose nothing. This module checks which
node may send what for which step, and passes lists and contents on to the files process (`workers/files.py`) unread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from director.errors import ProtocolError
from director.protocol import messages
from director.runtime.greenlets import periodic
from director.scheduler.job_state import JobRun
from director.server.roster import Handler, NodeRecord, Roster, Send
from director.server.scheduler import Scheduler
from director.server.value_queries import opened
from director.transfer.blob_lists import set_of
from director.transfer.blobs import BlobStore
from director.workers.supervisor import Supervisor

TICK = 0.5  # seconds
SILENCE = 15.0  # seconds without a content after which a source is asked again
TOUCH = 600.0  # seconds between two marks that blobs of open jobs are in use
EARLY = 1000  # frames that wait for the files process to start; nodes send again what is lost
NEVER = float("-inf")
DIGESTS = 5000  # in a frame
ASKED_LIMIT = 64 * 1024 * 1024  # bytes under way from one node that do not count as sent too much


@dataclass(slots=True)
class Loan:
    """One reading of a source node's files, for all nodes that need this set of this step.

    Attributes:
        waiting: nodes that wait for the files.
        active: monotonic time of the last question to the source or message from it.
        answer: JSON of the sources once all files are here, b"" before.
        digests: blobs that the source has sent, for the nodes that take this set of the step.
    """

    run: JobRun
    step: int
    number: int
    spec: dict[str, Any]
    waiting: set[str] = field(default_factory=set)
    active: float = NEVER
    answer: bytes = b""
    digests: set[str] = field(default_factory=set)

    @property
    def source(self) -> str:
        """The name of the node that is read."""
        name: str = self.spec["from"]
        return name


class NodeTransfer:
    """Handles `borrow`, `offer` and `contents`.

    Args:
        blobs: of the server.
        hello: settings of the files process, which is started when it is first needed.
        fatal: gets the reason when that process cannot be started.

    Attributes:
        handlers: kind of message to its handler.
    """

    def __init__(
        self, scheduler: Scheduler, roster: Roster, send: Send, blobs: BlobStore, hello: dict[str, Any],
        fatal: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._scheduler, self._roster, self._send, self._blobs = scheduler, roster, send, blobs
        self._hello, self._fatal = hello, fatal
        self._loans: dict[tuple[str, int, int], Loan] = {}  # by job, step and set
        self._fetches: set[tuple[Any, ...]] = set()  # keys of uploads for FETCH
        self._offered: set[str] = set()  # jobs of which the files process knows
        self._child: Supervisor | None = None
        self._early: list[tuple[dict[str, Any], bytes]] = []
        self._touched = time.monotonic()
        self.handlers: dict[str, Handler] = {"borrow": self._borrow, "offer": self._offer, "contents": self._contents}
        periodic("node transfer", TICK, self.tick)

    def stop(self) -> None:
        """End the files process."""
        if self._child is not None:
            self._child.stop()

    def lent(self, run: JobRun, step: int, node: str, digest: str) -> bool:
        """Whether a node lent this blob to this one, which has the step, and those that take the same set in it."""
        spec = run.meta.get("exchange", {}).get(str(step))
        loan = self._loans.get((run.id, step, self._set_of(node, spec))) if spec else None
        return loan is not None and digest in loan.digests

    def _tell(self, name: str, kind: str, *frames: bytes, **fields: Any) -> bool:
        """Send a message to a node; False when the node is unknown or has no connection."""
        record = self._roster.nodes.get(name)
        return record is not None and self._send(record, messages.encode(kind, **fields), frames)

    # -- COPY --from --------------------------------------------------------------------------------------

    def _borrow(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """A node needs files for its step that another node has."""
        job, step, number = fields["job"], fields["step"], fields["set"]
        found = opened(self._scheduler, record, job, step, "copy")
        if not isinstance(found, str) and number != self._set_of(record.name, found[1]):
            found = "the plan has no such sources"
        if isinstance(found, str):
            self._answer(record.name, job, step, error=found)
            return
        loan = self._loans.setdefault((job, step, number), Loan(found[0], step, number, found[1]))
        loan.waiting.add(record.name)
        why = self._advance(loan)
        if why:
            self._answer(record.name, job, step, why=why)

    def _set_of(self, node: str, spec: dict[str, Any]) -> int:
        """The number of the set of sources that the node takes in a step, -1 for none."""
        return set_of(spec["of"], node, self._blobs) if "of" in spec else 0

    def _advance(self, loan: Loan) -> str:
        """Answer a finished loan, else ask the source when it may be read; what is still awaited, for a person."""
        source = self._roster.nodes.get(loan.source)
        if loan.answer or source is None:
            self._finish(loan, "" if loan.answer else f"there is no node {loan.source} any more")
            return ""
        node = loan.run.nodes.get(loan.source)
        why = ""
        if not source.online:
            why = f"{loan.source}, which has the files, is offline"
        elif node is not None and not loan.run.passed(node, loan.step):
            why = f"{loan.source}, which has the files, has not ended step {node.first_open() + 1}"
        if why:
            loan.active = NEVER
        elif time.monotonic() - loan.active > SILENCE:
            self._lend(loan)
        return why or f"{loan.source} is being read"

    def _lend(self, loan: Loan) -> None:
        spec = loan.spec
        if self._tell(
            loan.source, "lend", job=loan.run.id, step=loan.step, set=loan.number, patterns=spec["sets"][loan.number],
            exclude=spec["exclude"], hidden=spec["hidden"], parents=spec["parents"],
        ):  # fmt: skip
            loan.active = time.monotonic()

    def _finish(self, loan: Loan, error: str) -> None:
        """Answer all nodes that wait; after an error the next `borrow` begins another loan."""
        for name in loan.waiting:
            self._answer(name, loan.run.id, loan.step, error, body=loan.answer)
        loan.waiting.clear()
        if error:
            self._loans.pop((loan.run.id, loan.step, loan.number), None)

    def _answer(self, name: str, job: str, step: int, error: str = "", why: str = "", body: bytes = b"") -> None:
        self._tell(name, "sources", body, job=job, step=step, error=error, why=why)

    # -- what nodes send ----------------------------------------------------------------------------------

    def _offer(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """A part of a list of files: for a FETCH that the node runs, or in answer to `lend`."""
        job, step, number = fields["job"], fields["step"], fields["set"]
        key = (job, step, number, record.name)
        self._offered.add(job)
        frame = {"offer": key, "part": fields["part"], "parts": fields["parts"], "error": fields["error"][:2000]}
        loan = self._loans.get((job, step, number))
        if loan is not None and loan.source == record.name:
            if not loan.answer:
                loan.active = time.monotonic()
                self._pass_on(frame, payload)
            return
        found = opened(self._scheduler, record, job, step, "fetch")
        if isinstance(found, str) or number != 0:
            self._stored(key, "the plan has nothing to fetch here", False)
            return
        uid, gid = self._scheduler.submitters[job]
        to = {"folder": found[1]["folder"], "uid": uid, "gid": gid}
        self._fetches.add(key)
        self._pass_on({**frame, "land": to}, payload)

    def _contents(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Contents of files, in answer to `get`."""
        record.budget.came(len(payload))
        key = (fields["job"], fields["step"], fields["set"], record.name)
        loan = self._loans.get(key[:3])
        if loan is not None and loan.source == record.name:
            loan.active = time.monotonic()
        elif key not in self._fetches:
            if fields["job"] in self._scheduler.runs:
                raise ProtocolError("contents that the server did not ask for")
            return
        self._pass_on({"contents": key, "ranges": fields["ranges"], "error": fields["error"][:2000]}, payload)

    # -- the files process --------------------------------------------------------------------------------

    def _pass_on(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Give a frame to the files process."""
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
        """Begin all uploads again: sources are asked anew, and nodes repeat their offers for FETCH by themselves."""
        self._fetches.clear()
        self._early.clear()
        for loan in self._loans.values():
            loan.active = NEVER

    def _take(self, child: Supervisor, header: dict[str, Any], body: bytes) -> None:
        if "get" in header:
            (job, step, number, name), ranges = header["get"], header["ranges"]
            self._expect(name, sum(length for _, _, length in ranges))
            self._tell(name, "get", job=job, step=step, set=number, ranges=ranges, anew=header["anew"])
        elif "stored" in header:
            self._fetches.discard(tuple(header["stored"]))
            self._stored(header["stored"], header["error"], header["changed"], body)
        else:
            self._take_lent(header, body)

    def _expect(self, name: str, size: int) -> None:
        """So many bytes are asked of a node; those that were lost are not waited for for ever."""
        record = self._roster.nodes.get(name)
        if record is not None:
            record.budget.asked = min(ASKED_LIMIT, record.budget.asked + size)

    def _stored(self, key: Any, error: str, changed: bool, body: bytes = b"") -> None:
        job, step, number, name = key
        self._tell(name, "stored", body, job=job, step=step, set=number, error=error, changed=changed)

    def _take_lent(self, header: dict[str, Any], body: bytes) -> None:
        job, step, number, source = header["lent"]
        loan = self._loans.get((job, step, number))
        if loan is None:
            return
        loan.digests.update(header.get("digests", ()))
        if header.get("more"):
            return
        self._stored(header["lent"], header["error"], True)
        loan.answer = body
        self._finish(loan, f"{source}: {header['error']}" if header["error"] else "")

    # -- time ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Forget uploads of jobs that are not open; advance loans that nodes wait for; keep lent blobs in use.

        The files process gets a sign of the time, to end uploads whose node has fallen silent.
        """
        now, touch = time.monotonic(), False
        if now - self._touched > TOUCH:
            self._touched, touch = now, True
        for key, loan in list(self._loans.items()):
            if loan.run.id not in self._scheduler.runs:
                del self._loans[key]
            elif loan.waiting:
                self._advance(loan)
            if touch:
                self._touch(loan)
        for job in [job for job in self._offered if job not in self._scheduler.runs]:
            self._offered.discard(job)
            self._fetches = {upload for upload in self._fetches if upload[0] != job}
            self._pass_on({"over": job})
        if self._child is not None and (self._fetches or any(not loan.answer for loan in self._loans.values())):
            self._pass_on({"touch": ()})

    def _touch(self, loan: Loan) -> None:
        left = iter(loan.digests)
        while some := list(islice(left, DIGESTS)):
            self._pass_on({"touch": some})
