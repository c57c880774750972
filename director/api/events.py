"""The command that reads the events of the server, from a number on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gevent
import ujson

from director.api.job_access import JobAccess
from director.api.requests import Caller
from director.errors import DirectorError
from director.server.events import Events, Happened
from director.server.roster import Roster

PACE = 0.1  # seconds between two answers, in which events gather
CALM = 5.0  # seconds after which an answer without events shows that there are none
SEEN = 10_000  # jobs of which a reader with a scope remembers whether it may see them


@dataclass(frozen=True, slots=True)
class EventsFrom:
    """Asks for events from `number` of `epoch` on, as an answer named them; without a number from now on.

    Attributes:
        once: answer with what there is, and end.
    """

    epoch: str = ""
    number: int | None = None
    once: bool = False


class EventFeed:
    """Answers the command about events."""

    def __init__(self, events: Events, access: JobAccess, roster: Roster) -> None:
        self._events, self._access, self._roster = events, access, roster

    def events(self, request: EventsFrom, caller: Caller) -> Iterator[bytes]:
        """What happens, at least every five seconds: `{epoch, next, reset, missed, events}`.

        A reader goes on from `next`. `reset` says that the number asked for is of an earlier server, or forgotten:
        `missed` events, 0 where that is not known. A reader that is slow has missed what was forgotten meanwhile. After
        a reset events go on from now. Of a caller with a scope only events of its nodes and jobs are shown.
        """
        number = request.number
        reset = number is not None and not self._events.has(request.epoch, number)
        missed = self._missed(request) if reset else 0
        return self._read(self._events.next if number is None or reset else number, reset, missed, request.once, caller)

    def ordered(self, command: str, caller: Caller) -> None:
        """A command that changes something was carried out."""
        self._events.order(command, caller.user)

    def _missed(self, request: EventsFrom) -> int:
        known = request.epoch == self._events.epoch
        return max(0, self._events.next - (request.number or 0)) if known else 0

    def _read(self, number: int, reset: bool, missed: int, once: bool, caller: Caller) -> Iterator[bytes]:
        seen: dict[str, bool] = {}
        while True:
            found, forgotten = self._events.since(number)
            if forgotten:
                found, reset, missed = [], True, self._events.next - number
            number = self._events.next if reset else found[-1].number + 1 if found else number
            shown = [event.encoded() for event in found if self._may_see(event, caller, seen)]
            head = {"epoch": self._events.epoch, "next": number, "reset": reset, "missed": missed}
            yield b'%s,"events":[%s]}' % (ujson.dumps(head)[:-1].encode(), b",".join(shown))
            if once and number >= self._events.next:
                return
            reset, missed = False, 0
            if number >= self._events.next:
                self._events.wait(CALM)
            gevent.sleep(PACE)

    def _may_see(self, event: Happened, caller: Caller, seen: dict[str, bool]) -> bool:
        scope = caller.rights.scope
        if scope.is_everything:
            return True
        if event.node:
            return event.node in scope.covered([event.node], self._roster)
        if not event.job:
            return False
        if len(seen) > SEEN:
            seen.clear()
        if event.job not in seen:
            try:
                self._access.find(event.job, caller)
                seen[event.job] = True
            except DirectorError:
                seen[event.job] = False
        return seen[event.job]
