"""Keeps a client connected: finds the server, connects, reads, sends heartbeats; begins anew after silence."""

from __future__ import annotations

import logging
import time

import gevent
from gevent.event import Event

from director.agent.core import Agent
from director.agent.node_keys import NodeKeys
from director.agent.server_identity import ServerIdentity
from director.errors import DirectorError
from director.protocol import messages
from director.protocol.context import Context
from director.protocol.transport import Dealer
from director.runtime.greenlets import jitter, spawn
from director.runtime.liveness import Backoff

log = logging.getLogger(__name__)

UNANSWERED = 5.0  # seconds without any message on a new connection after which that is logged


class Connection:
    """One client's connection to its server, found anew for every connection.

    Attributes:
        trouble: why there is no connection, "" when nothing has failed.
    """

    def __init__(self, context: Context, node_keys: NodeKeys, server: ServerIdentity) -> None:
        self._context, self._keys, self._server = context, node_keys, server
        self._dealer: Dealer | None = None
        self._is_stopped = False
        self._ends = Event()  # the present connection
        self.trouble = ""

    def send(self, *parts: bytes) -> bool:
        """Queue one message for the server; False when there is no connection, or its queue is full."""
        return self._dealer is not None and self._dealer.send(*parts)

    def run(self, agent: Agent) -> None:
        """Keep `agent` connected until `stop`."""
        backoff = Backoff(0.5, 30.0)
        session, number = agent.session, 0
        while not self._is_stopped:
            address = self._find(number)
            number += 1
            if address is not None:
                session.pulse.hear(time.monotonic())
                if self._talk(agent, *address):
                    backoff.reset()
            self._ends.wait(max(session.retry, 0.1) * 0.5 + jitter(backoff.next()))
            session.retry = 0.0
            if not self._is_stopped:
                self._ends.clear()

    def reconnect(self) -> None:
        """Connect anew at once, as the key is another one now."""
        self._ends.set()

    def stop(self, reason: str) -> None:
        """Send a goodbye and close."""
        self._is_stopped = True
        self._ends.set()
        if self._dealer is not None:
            self._dealer.send(messages.encode("goodbye", reason=reason))
            gevent.sleep(0.05)  # the library sends in a thread of its own
            self._dealer.close()

    # -- inside -------------------------------------------------------------------------------------------

    def _warn(self, text: str) -> None:
        """Log a trouble, unless it is the last one again."""
        if text != self.trouble:
            self.trouble = text
            log.warning("%s; trying again", text)

    def _find(self, number: int) -> tuple[str, int] | None:
        """The address to connect to, None when this must be tried again."""
        try:
            return self._server.find(number)
        except DirectorError as error:
            self._warn(str(error))
            return None

    def _talk(self, agent: Agent, address: str, port: int) -> bool:
        """Use one connection until it is silent or refused; whether the server has welcomed us on it."""
        literal = f"[{address}]" if ":" in address else address
        server_key = self._server.key or ""
        pair = self._keys.pair
        self._server.public = pair.public
        dealer = self._dealer = Dealer(self._context, pair, server_key, f"tcp://{literal}:{port}")
        reader = spawn("reader", self._read, agent, dealer, vital=False)  # when it dies, the silence ends this
        session, welcomed, opened = agent.session, False, time.monotonic()
        try:
            # until the welcome the pauses are short, to notice it
            while not self._ends.wait(session.pulse.interval if welcomed else min(1.0, session.pulse.interval)):
                if not welcomed and session.reconciled.is_set():
                    welcomed = True
                    self._server.welcomed()
                    self._keys.welcomed()
                now = time.monotonic()
                answered = session.pulse.heard > opened
                if not answered and now - opened > min(UNANSWERED, 2 * session.pulse.interval):
                    self._warn(f"no server with the key {server_key} answers at {address}:{port}, "
                               "or it has revoked the key of this client")  # fmt: skip
                if session.pulse.silent(now):
                    session.suspend()
                    if answered:
                        self._warn(f"the server at {address}:{port} is silent")
                    break
                if session.refused or (not session.reconciled.is_set() and now - opened > session.pulse.interval * 3):
                    break
                if welcomed:
                    self.trouble = ""
                    session.heartbeat()
        finally:
            session.close()
            reader.kill()
            if not self._is_stopped:
                dealer.close()
        return welcomed

    def _read(self, agent: Agent, dealer: Dealer) -> None:
        while (parts := dealer.receive()) is not None:
            self._server.answered()
            try:
                agent.take(parts)
            except Exception:
                log.exception("a message of the server could not be handled")
