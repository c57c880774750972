"""The command `health`: what the doctor wants to know of a running server."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from heapq import nlargest
from typing import Any

from director import __version__
from director.api.nodes import waiting_for
from director.api.requests import Caller, Nothing
from director.config.settings import Settings
from director.runtime.loop_lag import LoopLag
from director.server.enrolment import Enrolment
from director.server.ledger_client import LedgerClient
from director.server.roster import Roster
from director.server.scheduler import Scheduler

SHOWN = 5  # nodes of a kind
Row = dict[str, Any]


class Health:
    """Answers the command; it reads what is in memory only.

    Attributes:
        socket: where the operator's socket is.
    """

    def __init__(
        self, settings: Settings, folder: str, roster: Roster, scheduler: Scheduler, ledger: LedgerClient,
        enrolment: Enrolment, lag: LoopLag,
    ) -> None:  # fmt: skip
        self._settings, self._folder, self._roster, self._scheduler = settings, folder, roster, scheduler
        self._ledger, self._enrolment, self._lag = ledger, enrolment, lag
        self._began = time.monotonic()
        self.socket = ""

    def health(self, request: Nothing, caller: Caller) -> Row:
        """Ports, loop lag, ledger, jobs, descriptors, and the nodes of the caller's scope that need a look."""
        runs = self._scheduler.runs.values()
        writes, waiting = self._ledger.waiting
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime": round(time.monotonic() - self._began, 1),
            "bind_address": self._settings.bind_address,
            "port": self._settings.port,
            "enroll_port": self._settings.enroll_port,
            "socket": self.socket,
            "folder": self._folder,
            "lag": {"lately": round(self._lag.lately, 4), "ever": round(self._lag.ever, 4)},
            "jobs": len(runs),
            "tasks": sum(run.open for run in runs),
            "ledger": {"stuck": self._ledger.stuck, "lost": self._ledger.lost, "writes": writes, "bytes": waiting},
            "descriptors": {
                "open": len(os.listdir("/proc/self/fd")),
                "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            },
            **self._nodes(caller),
        }

    def _nodes(self, caller: Caller) -> Row:
        names = caller.rights.scope.within(self._roster).names()
        records = [self._roster.nodes[name] for name in names]
        online = [record for record in records if record.online]
        halted = ((record, record.quarantine or record.trouble) for record in records)
        return {
            "nodes": Counter(record.state for record in records),
            "pending": len(waiting_for(self._enrolment, self._roster, caller)),
            "versions": Counter(record.version for record in online),
            "halted": [{"id": record.name, "why": why} for record, why in halted if why][:SHOWN],
            "slowest": [
                {"id": record.name, "lag": record.lag}
                for record in nlargest(SHOWN, online, key=lambda record: record.lag)
            ],
        }
