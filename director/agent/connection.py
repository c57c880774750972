"""Keeps a client connected: enrol, connect, read, beat; after three silent beats begin again."""

from __future__ import annotations

import logging
import time
from typing import Any

import gevent
from gevent.event import Event

from director.agent import enrolment
from director.agent.core import Agent
from director.errors import DirectorError, NotPermittedError, StartError, UsageError
from director.protocol import keys, messages
from director.protocol.keys import KeyPair
from director.protocol.transport import Context, Dealer
from director.runtime.greenlets import jitter, spawn
from director.runtime.liveness import Backoff

log = logging.getLogger(__name__)


class Connection:
    """One client's way to its server.

    Args:
        address: `host[:port]`, looked up again at every reconnect.
        folder: where the server's key is pinned.
    """

    def __init__(
        self, agent: Agent, context: Context, pair: KeyPair, folder: str,
        address: str, port: int, enroll_port: int,
    ) -> None:  # fmt: skip
        self._agent, self._context, self._pair, self._folder = agent, context, pair, folder
        self._host, self._port = enrolment.split_address(address, port)
        self._enroll_port = enroll_port
        self._dealer: Dealer | None = None
        self._stop = Event()
        self._said = ""
        agent.transmit = self._transmit

    def run(self) -> None:
        """Until `stop`; raises what makes going on senseless.

        Raises:
            NotPermittedError: the server is not the pinned one at the first meeting.
            StartError: no thread can be started.
            UsageError: the address is none.
        """
        backoff = Backoff(0.5, 30.0)
        first = True
        while not self._stop.is_set():
            address = self._enrol(first)
            first = False
            if address is None:
                self._pause(backoff)
                continue
            self._agent.pulse.hear(time.monotonic())
            welcomed = self._talk(address)
            if welcomed:
                backoff.reset()
            self._pause(backoff)

    def stop(self, reason: str) -> None:
        """Say goodbye and close."""
        self._stop.set()
        if self._dealer is not None:
            self._dealer.send(messages.encode("goodbye", reason=reason))
            gevent.sleep(0.05)  # the library sends in a thread of its own
            self._dealer.close()

    @property
    def trouble(self) -> str:
        """Why there is no connection, "" when nothing went wrong yet."""
        return self._said

    def pinned(self) -> str | None:
        """The server's key that this client trusts."""
        return keys.pinned(self._folder)

    def pin(self, key: str) -> None:
        """Trust the server with this key from now on."""
        keys.pin(self._folder, key)

    # -- inside -------------------------------------------------------------------------------------------

    def _pause(self, backoff: Backoff) -> None:
        self._stop.wait(max(self._agent.retry, 0.1) * 0.5 + jitter(backoff.next()))
        self._agent.retry = 0.0

    def _say(self, text: str) -> None:
        """The same trouble is told once."""
        if text != self._said:
            self._said = text
            log.warning("%s; trying again", text)

    def _enrol(self, first: bool) -> str | None:
        """The address to connect to, None when this must be tried again."""
        pinned = self.pinned()
        try:
            answer = enrolment.ask(self._host, self._enroll_port, self._agent.name, self._pair.public)
        except (StartError, UsageError):
            raise
        except DirectorError as error:
            self._say(str(error))
            return self._without_enrolment() if pinned else None
        if pinned and answer.server_key != pinned:
            self._stranger(answer.server_key, pinned, first)
            return None
        if not keys.is_key(answer.server_key):
            self._say(f"the enrolment port of {self._host} gave no key: {answer.reason}")
            return None
        if not pinned:
            self.pin(answer.server_key)
            log.info("trusts the server key %s from now on", answer.server_key)
        if answer.status != "ok":
            self._say(f"not enrolled as {self._agent.name}: {answer.reason}")
            return None
        return answer.host

    def _without_enrolment(self) -> str | None:
        """The enrolment port is closed, but the server is known: it may still take us."""
        try:
            return enrolment.resolve(self._host)[0]
        except DirectorError as error:
            self._say(str(error))
            return None

    def _stranger(self, key: str, pinned: str, first: bool) -> None:
        text = (
            f"the server at {self._host} shows the key {key}, but this client trusts {pinned}; "
            f"if the server was set up anew on purpose, remove {self._folder}/server.pub and start the client again"
        )
        if first:
            raise NotPermittedError(text)
        self._say(text)

    def _talk(self, address: str) -> bool:
        """One connection, until it falls silent; whether the server ever welcomed us on it."""
        literal = f"[{address}]" if ":" in address else address
        server_key = self.pinned() or ""
        dealer = self._dealer = Dealer(self._context, self._pair, server_key, f"tcp://{literal}:{self._port}")
        reader = spawn("reader", self._read, dealer, vital=False)  # without it the server is silent: we connect anew
        agent = self._agent
        welcomed = False
        opened = time.monotonic()
        try:
            while not self._stop.wait(self._nap(welcomed)):
                welcomed = welcomed or agent.settled.is_set()
                now = time.monotonic()
                if agent.pulse.silent(now):
                    agent.unsettle()
                    self._say(f"the server at {self._host}:{self._port} is silent")
                    break
                if agent.refused or (not agent.settled.is_set() and now - opened > agent.pulse.interval * 3):
                    break
                if welcomed:
                    self._said = ""
                    agent.beat()
        finally:
            agent.outbox.shut()
            agent.settled.clear()
            reader.kill()
            if not self._stop.is_set():
                dealer.close()
        return welcomed

    def _nap(self, welcomed: bool) -> float:
        """Until the next beat; while we wait for the welcome a little less, to notice it."""
        return self._agent.pulse.interval if welcomed else min(1.0, self._agent.pulse.interval)

    def _read(self, dealer: Dealer) -> None:
        while (frames := dealer.receive()) is not None:
            try:
                self._agent.take(frames)
            except Exception:
                log.exception("a message of the server could not be handled")

    def _transmit(self, *frames: Any) -> bool:
        dealer = self._dealer
        return dealer is not None and dealer.send(*frames)
