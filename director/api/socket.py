"""The operator's socket: one greenlet a connection, a table of commands, deadlines and limits."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import gevent
import ujson
from gevent import Greenlet, socket

from director import __version__
from director.api.keepalive import CallersChannel
from director.api.peer_credentials import caller_of
from director.errors import EXIT_FAILED, DirectorError, NotFoundError, ProtocolError, UsageError
from director.protocol import unix_socket
from director.protocol.framing import Channel, Cut
from director.runtime.accept_loop import accept_all
from director.runtime.greenlets import breathe, spawn
from director.runtime.logs import stamp
from director.runtime.loop_lag import LoopLag
from director.server import views
from director.server.enrolment import Enrolment
from director.server.ledger_client import LedgerClient
from director.server.planner_pool import PlannerPool
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler
from director.server.submissions import Submissions
from director.targets import settle

log = logging.getLogger(__name__)

CONNECTIONS = 1000
PATIENCE = 120.0  # seconds a caller may be silent between requests, or take to read an answer
PACE = 0.5  # seconds between two progress events
CALM = 2.0  # seconds after which a progress event comes even when nothing changed
PART = 16 * 1024 * 1024  # bytes of a long answer in one frame
BATCH = 500  # rows of nodes in one frame of an answer


class OperatorSocket:
    """Answers the commands of `docs/protocol.md`, section "operator's socket"."""

    def __init__(
        self, desk: Scheduler, roster: Roster, enrolment: Enrolment, ledger: LedgerClient, planners: PlannerPool,
        lost_after: float, note: Callable[[str, NodeRecord | None], None], grace: float, lag: LoopLag,
    ) -> None:  # fmt: skip
        self._desk, self._roster, self._enrolment, self._ledger = desk, roster, enrolment, ledger
        self._submissions = Submissions(desk, planners, ledger, roster)
        self.foresight = self._submissions.foresight
        self._planners = planners
        self._lost_after = lost_after
        self._note = note
        self._lag = lag
        self._until = time.monotonic() + grace  # so long a node that was not heard yet may be on its way
        self._open = 0
        self._listener: unix_socket.Listener | None = None
        self._accepting: Greenlet | None = None
        self.commands: dict[str, Callable[[dict[str, Any], Channel, str], None]] = {
            "hello": self.do_hello, "submit": self.do_submit, "plan": self.do_plan, "verb-help": self.do_verb_help,
            "wait": self.do_wait,
            "resume": self.do_resume,
            "list-jobs": self.do_list_jobs, "job-info": self.do_job_info, "list-nodes": self.do_list_nodes,
            "node-info": self.do_node_info, "cancel": self.do_cancel, "purge-jobs": self.do_purge_jobs,
            "purge-nodes": self.do_purge_nodes, "export-jobs": self.do_export_jobs,
            "export-nodes": self.do_export_nodes,
        }  # fmt: skip

    # -- the socket ---------------------------------------------------------------------------------------

    def listen(self, paths: Sequence[str], group: str | None = None) -> str:
        """Open the socket, 0660, at the first path that can be used; its path. StartError when none can."""
        self._listener = unix_socket.listen(paths, group)
        self._accepting = spawn(
            "operator's socket", accept_all, self._listener.sock, 2 * CONNECTIONS, self._serve, self._refuse, vital=True
        )
        return self._listener.path

    def stop(self) -> None:
        """Close the socket and take its file away."""
        if self._listener is not None and self._accepting is not None:
            self._accepting.kill()
            self._listener.close()

    @staticmethod
    def _refuse(connection: socket.socket, why: str) -> None:
        Channel(connection).send({"error": why, "exit": EXIT_FAILED})

    def _serve(self, connection: socket.socket, _address: object) -> None:
        channel = CallersChannel(connection)
        self._open += 1
        try:
            user = caller_of(connection)
            if self._open > CONNECTIONS:
                channel.send({"error": f"{CONNECTIONS} callers are connected; try again", "exit": 1})
                return
            while True:
                with gevent.Timeout(PATIENCE, False):
                    frame = None
                    frame = channel.receive()
                if frame is None:
                    return
                header, _, fds = frame
                for fd in fds:
                    os.close(fd)
                with channel.signs_of_life():
                    self._command(header, channel, user)
        except (OSError, ProtocolError) as error:
            log.debug("a caller left: %s", error)
        finally:
            self._open -= 1
            channel.close()

    def _command(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        handler = self.commands.get(str(header.get("do")))
        try:
            if handler is None:
                raise UsageError(f"the server knows no command {header.get('do')!r}; it runs version {__version__}")
            handler(header, channel, user)
        except (OSError, ProtocolError):
            raise
        except DirectorError as error:
            several = {"errors": list(error.lines)} if error.lines else {}
            channel.send({"error": str(error), "exit": error.exit_code, **several})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            log.exception("the command %s failed", header.get("do"))
            channel.send({"error": f"the server could not carry this out: {error!r}", "exit": 1})

    # -- submitting and waiting ---------------------------------------------------------------------------

    def do_hello(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Who is there, for how many nodes, and how long its loop was blocked: lately, and ever."""
        lag = {"lag": round(self._lag.lately, 4), "lag_ever": round(self._lag.ever, 4),
               "busy_ever": round(self._lag.busy, 4)}  # fmt: skip
        nodes = Counter(record.state for record in self._roster.nodes.values())
        channel.send({"ok": True, "version": __version__, "pid": os.getpid(), "nodes": nodes, **lag})

    def do_submit(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Plan and accept."""
        if header.get("plan"):
            self.do_plan(header, channel, user)
        else:
            channel.send(self._submissions.submit(header, channel, user))

    def do_plan(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Plan only."""
        body = ujson.dumps(self._submissions.plan(header, channel)).encode()
        _parts(channel, (body[start : start + PART] for start in range(0, len(body), PART)))

    def do_verb_help(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """The manual of one of the operator's own verbs."""
        channel.send({"ok": True, "text": self._planners.manual(str(header["verb"]).upper()[:100])})

    def do_resume(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Accept what is left of a final job as a new one."""
        channel.send(self._submissions.resume(header, user))

    def do_wait(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Progress until all are final."""
        jobs = [self._resolve(str(job)) for job in header["ids"]]
        events = {job: event for job in jobs if (event := self._desk.final_event(job)) is not None}
        told, said = 0.0, ""
        try:
            while events:
                now = time.monotonic()
                runs = [self._desk.runs[job] for job in events if job in self._desk.runs]
                rows = views.progress(runs)
                text = ujson.dumps(rows)
                if text != said or now - told > CALM:
                    told, said = now, text
                    waiting = views.waiting(runs, self._roster, self._desk, self._lost_after)
                    channel.send({"progress": {"jobs": rows, "waiting": waiting}})
                next(iter(events.values())).wait(PACE)
                events = {job: event for job, event in events.items() if not event.is_set()}
        finally:
            for job, event in events.items():
                self._desk.forget_event(job, event)
        channel.send({"ok": True, "final": True, "ids": jobs})

    def do_cancel(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Order the end of jobs; answered when the order is on disk."""
        jobs = [self._resolve(str(job)) for job in header["ids"]]
        rows = [{"id": job, "was_final": not self._desk.cancel(job, f"cancelled by {user}")} for job in jobs]
        channel.send({"ok": True, "jobs": rows})

    # -- listings -----------------------------------------------------------------------------------------

    def do_list_jobs(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Jobs, newest last."""
        filters = self._filters(header)
        _body(channel, self._ledger.ask("list_jobs", filters=filters, live=views.live(self._desk.runs)))

    def do_job_info(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """One job, whole."""
        job = self._resolve(str(header["id"]))
        _parts(channel, self._ledger.stream("job_info", id=job, live=self._live(job)))

    def do_export_jobs(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Every job, whole, in JSON lists."""
        for part in self._ledger.stream("export_jobs", live=views.live(self._desk.runs)):
            _send(channel, part, more=True, cut=isinstance(part, Cut))
        channel.send({"ok": True, "more": False})

    def do_list_nodes(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Nodes by name, and newcomers that were refused."""
        begin = b"["
        for rows in _batches(self._node_rows(header)):
            _send(channel, begin + ujson.dumps(rows)[1:-1].encode(), more=True)
            begin = b","
            breathe()
        _send(channel, b"]" if begin == b"," else b"[]", more=False)

    def do_node_info(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """One node, whole."""
        detail = views.node_detail(self._node(str(header["node"])))
        _body(channel, ujson.dumps({**detail, "server_lag": round(self._lag.lately, 4)}).encode())

    def do_export_nodes(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Every node, whole, in JSON lists."""
        records = [self._roster.nodes[name] for name in sorted(self._roster.nodes)]
        for start in range(0, len(records), BATCH):
            rows = [views.node_detail(record) for record in records[start : start + BATCH]]
            _send(channel, ujson.dumps(rows).encode(), more=True)
        channel.send({"ok": True, "more": False})

    # -- forgetting ---------------------------------------------------------------------------------------

    def do_purge_jobs(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Forget final jobs."""
        jobs = ujson.loads(self._ledger.ask("final_jobs", filters={**self._filters(header), "limit": 0}))
        for start in range(0, len(jobs), 100):
            self._ledger.commit(("purge_jobs", {"ids": jobs[start : start + 100]}))
        channel.send({"ok": True, "count": len(jobs)})

    def do_purge_nodes(self, header: dict[str, Any], channel: Channel, user: str) -> None:
        """Forget offline nodes; what waits for them expires."""
        names = self._matching(header)
        gone = [name for name in names if self._is_away(self._roster.nodes[name])]
        for name in gone:
            record = self._roster.nodes[name]
            self._desk.abandon(record, f"{name} was purged by {user}")
            self._roster.remove(name)
            self._note(name, None)
        self._ledger.commit(*(("forget_node", {"name": name}) for name in gone))
        channel.send({"ok": True, "count": len(gone)})

    # -- inside -------------------------------------------------------------------------------------------

    def _resolve(self, job: str) -> str:
        """The whole id of an id, a unique prefix or `last`."""
        return job if job in self._desk.runs else self._ledger.ask("resolve", id=job).decode()

    def _live(self, job: str) -> dict[str, Any]:
        run = self._desk.runs.get(job)
        return views.live({job: run}, job) if run is not None else {}

    def _filters(self, header: dict[str, Any]) -> dict[str, Any]:
        filters: dict[str, Any] = {"limit": int(header.get("limit") or 0)}
        if header.get("ids"):
            filters["ids"] = [self._resolve(str(job)) for job in header["ids"]]
        if header.get("state"):
            filters["state"] = [str(state) for state in header["state"]]
        if header.get("since") is not None:
            filters["since"] = float(header["since"])
        if header.get("node"):
            filters["nodes"] = self._matching(header)
        return filters

    def _is_away(self, record: NodeRecord) -> bool:
        """Whether the node is offline, and not only because this server has just begun."""
        return not record.online and (record.heard is not None or time.monotonic() >= self._until)

    def _matching(self, header: dict[str, Any]) -> list[str]:
        """Names that `--node EXPR` means; without it all. A name that nobody has is an error, an empty set is none."""
        if not header.get("node"):
            return list(self._roster.nodes)
        return settle([str(header["node"])], self._roster, may_be_empty=True).nodes

    def _node_rows(self, header: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """Rows by name, newcomers that were refused behind them, that pass the filters; the last `limit` of them."""
        states = header.get("state") or ()
        since = stamp(float(header["since"])) if header.get("since") is not None else ""
        limit = int(header.get("limit") or 0)
        names = sorted(self._matching(header), reverse=bool(limit))  # the last ones are few: no row is made for others
        rows = self._rows_of(names, states)
        newcomers = [] if header.get("node") else views.pending_rows(self._enrolment)
        every = chain(reversed(newcomers), rows) if limit else chain(rows, newcomers)
        found = (row for row in every if (not states or row["state"] in states) and (row["last_seen"] or "") >= since)
        return reversed(list(islice(found, limit))) if limit else found

    def _rows_of(self, names: Sequence[str], states: Sequence[str]) -> Iterator[dict[str, Any]]:
        for number, name in enumerate(names, 1):
            if number % BATCH == 0:
                breathe()  # of many rows few may pass the filters
            record = self._roster.nodes.get(name)  # it may be purged while the rows before it are sent
            if record is not None and (not states or record.state in states):
                yield views.node_row(record)

    def _node(self, name: str) -> NodeRecord:
        record = self._roster.nodes.get(name)
        if record is None:
            matches = [known for known in self._roster.nodes if known.startswith(name)]
            if len(matches) != 1:
                near = f"; did you mean {', '.join(sorted(matches)[:3])}?" if matches else ""
                raise NotFoundError(f"there is no node {name}{near}")
            record = self._roster.nodes[matches[0]]
        return record


def _send(channel: Channel, body: bytes, **more: bool) -> None:
    """A part of an answer; raises TimeoutError, which ends the connection, when the caller does not read it."""
    with gevent.Timeout(PATIENCE, TimeoutError("the caller does not read")):
        channel.send({"ok": True, "body": "json", **more}, body)


def _body(channel: Channel, body: bytes) -> None:
    _send(channel, body)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Lists of at most `BATCH` rows."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _parts(channel: Channel, parts: Any) -> None:
    """A JSON text in several frames: `more` says that another one follows."""
    held = None
    for part in parts:
        if held is not None:
            _send(channel, held, more=True)
        held = part
    _send(channel, held or b"", more=False)
