"""Which jobs a caller may look at, cancel or resume: those that reach no node outside of its scope."""

from __future__ import annotations

import ujson

from director.api.requests import Caller
from director.errors import NotFoundError, NotPermittedError
from director.scheduler.blocks import reach_of
from director.server.ledger_client import LedgerClient
from director.server.roster import Roster
from director.server.scheduler import Scheduler


class JobAccess:
    """Finds jobs for callers."""

    def __init__(self, scheduler: Scheduler, roster: Roster, ledger: LedgerClient) -> None:
        self._scheduler, self._roster, self._ledger = scheduler, roster, ledger

    def find(self, job: str, caller: Caller) -> str:
        """The whole id for an id, a unique prefix or `last`, the newest job that the caller may look at.

        Raises:
            NotFoundError: there is no such job. UsageError: several ids begin so.
            NotPermittedError: the job reaches nodes outside of the caller's scope.
        """
        scope = caller.rights.scope
        if job == "last" and not scope.is_everything:
            job = self._newest(caller)
        run = self._scheduler.runs.get(job)
        whole: str = job if run is not None else self._ledger.ask("resolve", id=job).decode()
        if not scope.is_everything:
            reach = ujson.loads(self._ledger.ask("reach", id=whole)) if run is None else reach_of(run.meta)
            if set(reach) - scope.covered(reach, self._roster):  # which, and the whole id, is not the caller's to know
                raise NotPermittedError(f"job {job} reaches nodes outside of your nodes ({scope})")
        return whole

    def within(self, caller: Caller) -> list[str] | None:
        """Of all nodes that jobs have reached those in the caller's scope; None when it has all."""
        scope = caller.rights.scope
        return (
            None if scope.is_everything else list(scope.covered(ujson.loads(self._ledger.ask("reached")), self._roster))
        )

    def _newest(self, caller: Caller) -> str:
        filters = {"limit": 1, "within": self.within(caller)}
        found = ujson.loads(self._ledger.ask("list_jobs", filters=filters, live={}))
        if not found:
            raise NotFoundError(f"no such job: last (there are no jobs on your nodes alone: {caller.rights.scope})")
        return str(found[0]["id"])
