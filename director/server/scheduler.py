"""Decides what each open job does next: wires the parts, each of which owns one concern, and names what others call.

The order of things is always the same: memory decides, the ledger makes it durable, then nodes and operators get it.
"""

from __future__ import annotations

from director.server.acceptance import Acceptance
from director.server.dispatcher import Dispatcher
from director.server.ledger_client import LedgerClient
from director.server.lifecycle import Lifecycle
from director.server.live_output import LiveOutput
from director.server.node_labels import NodeLabels
from director.server.open_jobs import OpenJobs
from director.server.presence import Presence
from director.server.result_intake import ResultIntake
from director.server.roster import NodeRecord, Roster, Send
from director.server.run_once import RunOnce


class Scheduler:
    """All open jobs of this server.

    Args:
        lost_after: seconds of silence after which a node's tasks are lost.
        labels: gets the LABEL steps that succeeded.
    """

    def __init__(self, ledger: LedgerClient, roster: Roster, send: Send, lost_after: float, labels: NodeLabels) -> None:
        self.jobs = jobs = OpenJobs(ledger, roster, send)
        self.runs, self.changed, self.events = jobs.runs, jobs.changed, jobs.events
        self.submitters, self.check_room, self.sealed = jobs.submitters, jobs.check_room, jobs.sealed
        self.run_once = RunOnce(jobs.runs, ledger, send)
        lifecycle = Lifecycle(jobs, self.run_once, ledger, send)
        self.cancel, self.final_event = lifecycle.cancel, lifecycle.final_event
        presence = Presence(jobs, roster, lifecycle, ledger, lost_after)
        self.live = LiveOutput(jobs, send)
        self._begin = presence.online
        self.reconcile, self.tick = presence.reconcile, presence.tick
        self.lose_all, self.abandon = presence.lose_all, presence.abandon
        self.expire_sealed = presence.expire_sealed
        dispatcher = Dispatcher(jobs, lifecycle, ledger, send)
        acceptance = Acceptance(jobs, lifecycle, presence, dispatcher, ledger)
        self.accept, self.restore = acceptance.accept, acceptance.restore
        self.release_blocked, self.lose_open = acceptance.release_blocked, acceptance.lose_open
        self.take_results = ResultIntake(jobs, lifecycle, ledger, labels, self.live).take_results

    def online(self, record: NodeRecord) -> None:
        """The session has begun: the node may get what waits for it, and sends what is followed."""
        self._begin(record)
        self.live.online(record)
