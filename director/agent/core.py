"""One enrolled client: its session, its jobs and what runs their steps, behind one table of message kinds.

It knows neither sockets nor processes, so the real client and the fleet simulator both run this code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from director.agent.job_table import JobTable
from director.agent.live_output import LiveOutput
from director.agent.node_transfer import NodeTransfer
from director.agent.session import Session
from director.agent.step_runner import Apply, StepRunner
from director.errors import ProtocolError
from director.protocol import messages

log = logging.getLogger(__name__)

Handler = Callable[..., object]  # called with a message's fields and its other parts


class Agent:
    """Hands each message of the server to the part that handles it.

    Args:
        apply: runs one attempt of a step.
        transfer: what travels between this node and others.
        concurrency: tasks at once.
        handlers: of the kinds that need more of a node than its jobs: `contents`, `dry_run`.
        again: called after each welcome, as the server may have lost requests.
    """

    def __init__(
        self, session: Session, apply: Apply, transfer: NodeTransfer, concurrency: int = 8,
        handlers: Mapping[str, Handler] | None = None, again: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self.session, self.transfer, self._again = session, transfer, again
        self.runner = StepRunner(session, apply, concurrency)
        self.table = JobTable(session, self.runner)
        self.live = LiveOutput(session)
        self.handlers: dict[str, Handler] = {
            "follow": self.live.follow,
            "identify": session.identify,
            "refused": session.refuse,
            "welcome": self._welcome,
            "labels": lambda fields: session.node.take_labels(fields["labels"]),
            "heartbeat_ack": lambda fields: None,
            "slice": self.table.take_slice,
            "ack": self.table.acknowledge,
            "cancel": self.table.cancel,
            "run_once_ended": self.runner.run_once_ended,
            "query_values": partial(transfer.take_answer, "values"),
            "sources": partial(transfer.take_answer, "sources"),
            "secrets": transfer.take_secrets,
            "stored": transfer.take_stored,
            "lend": transfer.take_lend,
            "get": transfer.take_get,
            **(handlers or {}),
        }

    def take(self, frames: list[bytes]) -> None:
        """Handle one message of the server, given as its parts; one that is malformed is logged and dropped."""
        self.session.received()
        try:
            kind, fields, payload = messages.decode(frames, "server")
        except ProtocolError as error:
            log.warning("a message of the server was dropped: %s", error)
            return
        handler = self.handlers.get(kind)
        if handler is not None:
            handler(fields, *payload)

    def _welcome(self, fields: dict[str, Any]) -> None:
        """Reconcile: follow the server's orders for each job, then send every result that is not stored."""
        self.session.node.take_labels(fields["labels"])
        self.session.welcomed(fields)
        self.live.forget()
        self.table.follow(fields["jobs"])
        self.session.open()
        self.transfer.repeat()
        self._again()
        self.table.resume()
