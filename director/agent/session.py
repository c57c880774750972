"""The client's session with its server: hello, heartbeats, and whether the two have reconciled."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gevent.event import Event

from director import __version__
from director.agent.job_runner import JobRunner, Step
from director.agent.journal import Journal
from director.agent.outbox import Outbox, Send
from director.protocol import messages
from director.runtime.greenlets import jitter, spawn
from director.runtime.liveness import Pulse

log = logging.getLogger(__name__)

HELLO_AGAIN = 1.0  # seconds in which a second `identify` is not answered by a second hello
UNSENT_MOST = 5  # heartbeats left out in a row; the next one is sent, as it carries the loop's lag
TROUBLE_LIMIT = 500  # characters


class NodeState(Protocol):
    """What the client keeps of its node beside jobs: facts, labels, remembered ARGs, the step cache."""

    def as_message(self) -> dict[str, Any]:
        """`{"facts", "args"}` as they are now."""

    def apply(self, effects: dict[str, Any]) -> None:
        """Keep what the effects of a step change."""

    def take_labels(self, labels: dict[str, str]) -> None:
        """Replace the labels by those that the server says this node has."""

    def pass_over(self, job: JobRunner, step: Step, good: bool) -> None:
        """A step of the job ended before this client began; whether it succeeded."""

    def end_job(self, job: str) -> None:
        """The client has forgotten the job."""


class Session:
    """One client's session.

    Args:
        name: of the node.
        journal: of the client.
        node: what `hello` and `profile` report.
        send: queues one message, its parts as arguments; False when there is no connection.
        started: epoch seconds of a start by the field of `hello` that gets its age.
        lag: gives the longest turn of the event loop since its last call, seconds.
        credentials: of the client's token for a name: id and proof, empty without a token.
        sealing: the public keys that secrets for this node may be sealed with, in Z85, the newest first.

    Attributes:
        jobs: the jobs that this client holds, by id.
        reconciled: set while server and client agree on each job; nothing starts while it is not.
        offset: the server's clock minus our monotonic one, seconds.
        refused: why the server refused this client, "" when it did not.
        retry: seconds to wait before the next connection.
        away_until: monotonic time by which a restart of the host shall be over, else 0.
        ignores_slices: from `hello` to `welcome`. The server requeues what hello omits, so nothing may come between.
        slice_error: why the last slice was not taken, "" when it was.
        disk_errors: by greenlet, what it cannot write to the journal, and why.
    """

    def __init__(
        self, name: str, journal: Journal, node: NodeState, send: Send,
        started: Mapping[str, float] | None = None, lag: Callable[[], float] = lambda: 0.0,
        credentials: Callable[[str], tuple[str, str]] = lambda name: ("", ""),
        sealing: Callable[[], list[str]] = list,
    ) -> None:  # fmt: skip
        self.name, self.journal, self.node, self.send = name, journal, node, send
        self.outbox = Outbox(journal, send)
        self.jobs: dict[str, JobRunner] = {}
        self.pulse = Pulse(10.0, time.monotonic())
        self.offset = time.time() - time.monotonic()
        self.reconciled = Event()
        self.refused = self.slice_error = ""
        self.retry = self.away_until = 0.0
        self.ignores_slices = False
        self.disk_errors: dict[Any, str] = {}
        self._started, self._lag, self._credentials = dict(started or {}), lag, credentials
        self._sealing = sealing
        self._process_token = os.urandom(8).hex()  # tells this process from another one with the same state folder
        self._hello: Any = None
        self._asked = 0  # number of the server's question whether a client is still here
        self._hello_at = float("-inf")  # when the hello was sent that has no answer yet
        self._unsent = 0  # heartbeats left out in a row
        self._sent_trouble = ""

    # -- liveness -----------------------------------------------------------------------------------------

    def received(self) -> None:
        """A message has come. One that was queued while this process was suspended does not hide the silence."""
        if self.check_silence():
            self.identify({"v": messages.VERSION, "within": 0.0, "known": True})
        self.pulse.hear(time.monotonic())

    def check_silence(self) -> bool:
        """Whether the server has been silent for three beats since we reconciled; then nothing more starts."""
        if not (self.reconciled.is_set() and self.pulse.silent(time.monotonic())):
            return False
        self.suspend()
        return True

    def suspend(self) -> None:
        """Start and report nothing before the next welcome."""
        if self.reconciled.is_set():
            silence = self.pulse.silence(time.monotonic())
            log.warning("the server was silent for %.0f s; nothing starts until it answers", silence)
        self.close()

    def close(self) -> None:
        """The connection has ended."""
        self.reconciled.clear()
        self.outbox.shut()

    def wait_reconciled(self) -> None:
        """Block until server and client have reconciled.

        The end of a child may wake this process after a suspension before any event of the network does.
        """
        self.check_silence()
        if not self.reconciled.is_set():
            self.reconciled.wait()

    def heartbeat(self) -> None:
        """Send a heartbeat, unless results and acknowledgements have just shown both sides that the other lives."""
        self.check_silence()
        now = time.monotonic()
        away = round(max(0.0, self.away_until - now), 3)
        if self._is_alive(now) and not away:
            self._unsent += 1
            return
        self._unsent, self._sent_trouble = 0, self.trouble
        position, lag = self.journal.position, round(self._lag(), 4)
        trouble = self._sent_trouble
        self.send(messages.encode("heartbeat", journal_position=position, lag=lag, trouble=trouble, away=away))

    @property
    def trouble(self) -> str:
        """Why no steps are taken or results not kept, for the server to show; "" when all is well."""
        errors = (next(iter(self.disk_errors.values()), ""), self.slice_error)
        return "; ".join(filter(None, errors))[:TROUBLE_LIMIT]

    def _is_alive(self, now: float) -> bool:
        """Whether a heartbeat would tell neither side anything new."""
        half = self.pulse.interval / 2
        fresh = now - self.outbox.last < half and self.pulse.silence(now) < half
        return fresh and self.trouble == self._sent_trouble and self._unsent < UNSENT_MOST

    # -- hello and welcome --------------------------------------------------------------------------------

    def identify(self, fields: dict[str, Any]) -> None:
        """The server asks for a hello; `within`: seconds over which nodes spread their answers."""
        if fields["v"] != messages.VERSION:
            text = "the server uses protocol %s, this client %s; install the server's version"
            log.error(text, fields["v"], messages.VERSION)
            self._ask_for_name()  # the server refuses it and logs which client speaks another version
            return
        if self.reconciled.is_set() and time.monotonic() - self._hello_at < HELLO_AGAIN:
            return  # a second hello would omit what is given to us meanwhile
        if not fields["known"]:
            self._ask_for_name()
            return
        self.outbox.shut()  # the server drops what comes before the hello; all of it is sent again after the welcome
        self._asked = fields.get("ask", self._asked)
        if self._hello is None:
            self._hello = spawn("hello", self._say_hello, vital=False, after=jitter(fields["within"]))

    def _ask_for_name(self) -> None:
        """This key is no node: ask the server to enrol it. It answers with `identify`, or refuses for now."""
        self.close()
        token, proof = self._credentials(self.name)
        fields = {"v": messages.VERSION, "name": self.name, "version": __version__, "token": token, "proof": proof}
        self.send(messages.encode("enroll", **fields))

    def _say_hello(self) -> None:
        self._hello = None
        self.ignores_slices, self._hello_at = True, time.monotonic()
        now = time.time()
        hello = messages.encode(
            "hello", v=messages.VERSION, name=self.name, version=__version__, instance=self.journal.instance,
            journal_position=self.journal.position, jobs=[(name, job.cursor) for name, job in self.jobs.items()],
            process_token=self._process_token, asked=self._asked, profile=self.node.as_message(),
            sealing=self._sealing(),
            **{name: round(now - at, 3) for name, at in self._started.items()},
        )  # fmt: skip
        if not self.send(hello):  # the connection broke; the server asks again on the next one
            self._hello_at = float("-inf")

    def refuse_slices(self, pause: float) -> None:
        """Ignore slices until the next welcome; after `pause` seconds (at most one more) say hello."""
        self.ignores_slices = True
        request = {"v": messages.VERSION, "within": min(pause, 1.0), "known": True}
        spawn("hello again", self.identify, request, vital=False, after=pause)

    def welcomed(self, fields: dict[str, Any]) -> None:
        """The server has accepted the hello; results wait until the orders for each job were followed."""
        self.refused = ""
        self.pulse.interval = max(0.05, float(fields["interval"]))
        self.offset = float(fields["now"]) - time.monotonic()
        self.ignores_slices, self._hello_at = False, float("-inf")
        self.outbox.shut()

    def open(self) -> None:
        """Server and client have reconciled: send every result that is not known to be stored, and go on."""
        self.outbox.reopen()
        if not self.reconciled.is_set():
            log.info("reconciled with the server (%d jobs here)", len(self.jobs))
        self.reconciled.set()

    def refuse(self, fields: dict[str, Any]) -> None:
        """The server does not accept this client."""
        if fields["reason"] != self.refused:
            log.error("the server refuses this client: %s", fields["reason"])
        self.refused, self.retry = fields["reason"], float(fields["retry"])

    def send_profile(self) -> None:
        """Send facts and remembered ARGs after a change."""
        self.send(messages.encode("profile", **self.node.as_message()))
