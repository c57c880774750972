"""Keeps a client connected: enrols, connects, reads, sends heartbeats; after three silent beats it begins again."""

from __future__ import annotations

import logging
import time

import gevent
from gevent.event import Event

from director.agent import enrolment
from director.agent.core import Agent
from director.errors import DirectorError, NotPermittedError
from director.protocol import keys, messages
from director.protocol.keys import KeyPair
from director.protocol.transport import Context, Dealer
from director.runtime.greenlets import jitter, spawn
from director.runtime.liveness import Backoff

log = logging.getLogger(__name__)


class Connection:
    """One client's connection to its server.

    Args:
        address: `host[:port]`, looked up again for every connection.
        folder: where the server's key is pinned.

    Attributes:
        trouble: why there is no connection, "" when nothing has failed.

    Raises:
        UsageError: the address is malformed.
    """

    def __init__(self, context: Context, pair: KeyPair, folder: str, address: str, port: int, enroll_port: int) -> None:
        self._context, self._pair, self._folder = context, pair, folder
        self._host, self._port = enrolment.split_address(address, port)
        self._enroll_port = enroll_port
        self._dealer: Dealer | None = None
        self._stopped = Event()
        self.trouble = ""

    def send(self, *parts: bytes) -> bool:
        """Queue one message for the server; False when there is no connection, or its queue is full."""
        return self._dealer is not None and self._dealer.send(*parts)

    def run(self, agent: Agent) -> None:
        """Keep `agent` connected until `stop`.

        Raises:
            NotPermittedError: the first server that answers is not the pinned one.
        """
        backoff = Backoff(0.5, 30.0)
        session, first = agent.session, True
        while not self._stopped.is_set():
            address = self._enrol(session.name, first)
            first = False
            if address is not None:
                session.pulse.hear(time.monotonic())
                if self._talk(agent, address):
                    backoff.reset()
            self._stopped.wait(max(session.retry, 0.1) * 0.5 + jitter(backoff.next()))
            session.retry = 0.0

    def stop(self, reason: str) -> None:
        """Send a goodbye and close."""
        self._stopped.set()
        if self._dealer is not None:
            self._dealer.send(messages.encode("goodbye", reason=reason))
            gevent.sleep(0.05)  # the library sends in a thread of its own
            self._dealer.close()

    def pinned(self) -> str | None:
        """The server's key that this client trusts."""
        return keys.pinned(self._folder)

    def pin(self, key: str) -> None:
        """Trust the server with this key from now on."""
        keys.pin(self._folder, key)

    # -- inside -------------------------------------------------------------------------------------------

    def _warn(self, text: str) -> None:
        """Log a trouble, unless it is the last one again."""
        if text != self.trouble:
            self.trouble = text
            log.warning("%s; trying again", text)

    def _enrol(self, name: str, first: bool) -> str | None:
        """The address to connect to, None when this must be tried again."""
        pinned = self.pinned()
        try:
            answer = enrolment.ask(self._host, self._enroll_port, name, self._pair.public)
        except DirectorError as error:
            self._warn(str(error))
            return self._without_enrolment() if pinned else None
        if pinned and answer.server_key != pinned:
            self._refuse_server(answer.server_key, pinned, first)
            return None
        if not keys.is_key(answer.server_key):
            self._warn(f"the enrolment port of {self._host} gave no key: {answer.reason}")
            return None
        if not pinned:
            self.pin(answer.server_key)
            log.info("trusts the server key %s from now on", answer.server_key)
        if answer.status != "ok":
            self._warn(f"not enrolled as {name}: {answer.reason}")
            return None
        return answer.host

    def _without_enrolment(self) -> str | None:
        """The enrolment port is closed, but a server that is known may still accept the connection."""
        try:
            return enrolment.resolve(self._host)[0]
        except DirectorError as error:
            self._warn(str(error))
            return None

    def _refuse_server(self, key: str, pinned: str, first: bool) -> None:
        text = (
            f"the server at {self._host} shows the key {key}, but this client trusts {pinned}; "
            f"if the server was set up anew on purpose, remove {self._folder}/server.pub and start the client again"
        )
        if first:
            raise NotPermittedError(text)
        self._warn(text)

    def _talk(self, agent: Agent, address: str) -> bool:
        """Use one connection until it is silent or refused; whether the server has welcomed us on it."""
        literal = f"[{address}]" if ":" in address else address
        server_key = self.pinned() or ""
        dealer = self._dealer = Dealer(self._context, self._pair, server_key, f"tcp://{literal}:{self._port}")
        reader = spawn("reader", self._read, agent, dealer, vital=False)  # when it dies, the silence ends this
        session, welcomed, opened = agent.session, False, time.monotonic()
        try:
            # until the welcome the pauses are short, to notice it
            while not self._stopped.wait(session.pulse.interval if welcomed else min(1.0, session.pulse.interval)):
                welcomed = welcomed or session.reconciled.is_set()
                now = time.monotonic()
                if session.pulse.silent(now):
                    session.suspend()
                    self._warn(f"the server at {self._host}:{self._port} is silent")
                    break
                if session.refused or (not session.reconciled.is_set() and now - opened > session.pulse.interval * 3):
                    break
                if welcomed:
                    self.trouble = ""
                    session.heartbeat()
        finally:
            session.close()
            reader.kill()
            if not self._stopped.is_set():
                dealer.close()
        return welcomed

    def _read(self, agent: Agent, dealer: Dealer) -> None:
        while (parts := dealer.receive()) is not None:
            try:
                agent.take(parts)
            except Exception:
                log.exception("a message of the server could not be handled")
