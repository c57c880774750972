"""Starts the components of the server in the order of their dependencies, and stops them in reverse order."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import gevent
import ujson
from gevent.event import AsyncResult

from director import __version__
from director.api.audit import Audit
from director.api.commands import Commands
from director.api.enrolment import Enrolments
from director.api.events import EventFeed
from director.api.follow import OutputFeed
from director.api.health import Health
from director.api.job_access import JobAccess
from director.api.jobs import Jobs
from director.api.labels import Labels
from director.api.nodes import Nodes
from director.api.permissions import Permissions
from director.api.socket import OperatorSocket
from director.api.submissions import Submissions
from director.api.waiting_nodes import WaitingNodes
from director.api.why import Explanations
from director.config.roles import read_roles
from director.config.settings import Settings
from director.errors import DirectorError, StartError, UsageError
from director.protocol import keys
from director.protocol.context import new_context, raise_descriptor_limit
from director.protocol.transport import Authenticator, Router
from director.runtime import descriptors, heap, locks, logs, paths, service_manager, signals
from director.runtime.greenlets import calm, on_vital_death, periodic, spawn
from director.runtime.loop_lag import LoopLag
from director.server import ledger_identity
from director.server.admission import Admission
from director.server.audit import AuditTrail
from director.server.dry_run import DryRun
from director.server.enrolment import Enrolment
from director.server.enrolment_port import EnrolmentPort
from director.server.enrolment_rules import AUTO
from director.server.file_server import FileServer
from director.server.ledger_client import LedgerClient
from director.server.membership import Membership
from director.server.networks import Networks, is_loopback, own_address
from director.server.node_labels import NodeLabels
from director.server.node_sender import NodeSender
from director.server.node_transfer import NodeTransfer
from director.server.planner_pool import PlannerPool
from director.server.ports import require_free
from director.server.revoked_keys import RevokedKeys
from director.server.roster import Handler, NodeRecord, Roster
from director.server.rotation import Rotation
from director.server.scheduler import Scheduler
from director.server.sessions import Sessions
from director.server.stranger_limits import StrangerLimits
from director.server.token_book import TokenBook
from director.server.value_queries import ValueQueries
from director.transfer.blobs import BlobStore
from director.workers import audit_sender

log = logging.getLogger(__name__)

READY_SECONDS = 60.0
LEDGER_SECONDS = 600.0  # a damaged ledger is copied and checked before it is ready
GRACE = 5  # heartbeats in which nodes may connect after a start before they count as offline
HISTORY_EVERY = 60.0  # seconds
HEAP_KEPT = 8 << 20  # bytes; the process never trims its heap, which takes 0.1 s with ten thousand nodes
HISTORY_STEP = 200  # jobs deleted in one operation
HISTORY_PAUSE = 0.5  # seconds between two operations


class Server:
    """One running server."""

    def __init__(self, settings: Settings, folder: str) -> None:
        self._permissions, self._audit = Permissions(settings.roles), audit_sender.checked(settings)
        self._settings = settings
        self._folder = folder
        self._end: AsyncResult[str] = AsyncResult()
        self.roster = Roster()
        self._began = time.time(), time.monotonic()
        self._parts: list[Any] = []  # components with a stop(), in the order of their start

    def fatal(self, reason: str) -> None:
        """End the server with this reason; called when a part that it needs has failed."""
        if not self._end.ready():
            self._end.set_exception(StartError(reason))

    def start(self) -> None:
        """Start all components. Raises StartError: one of them cannot be started."""
        s = self._settings
        profile = s.profile and os.path.abspath(s.profile)
        hello = {"log_level": s.log_level, "log_format": s.log_format, "profile": profile}
        blobs = BlobStore(os.path.join(self._folder, "blobs"))
        files = {**hello, "blobs": blobs.folder}
        ledger = {**hello, "store": s.store, "folder": self._folder, "audit": self._audit}
        ledger_identity.require(self._folder, s.store, s.new_ledger)
        pair = keys.load_or_make(self._folder)
        self.ledger = self._keep(LedgerClient(ledger, self.fatal))
        self._trail = AuditTrail(self.ledger)
        verbs = os.path.abspath(s.verbs_path)
        count = s.workers or min(4, os.cpu_count() or 1)
        self.planners = self._keep(PlannerPool(count, {**files, "verbs": verbs}, self.roster, self.fatal))
        self._await(lambda: self.ledger.ready.wait(LEDGER_SECONDS), "the ledger did not get ready", LEDGER_SECONDS)
        ledger_identity.write(self._folder, s.store, pair.public)
        self._load_nodes()
        context = new_context()
        router = Router(context, pair)
        sender = NodeSender(router, self.roster)
        labels = NodeLabels(sender.send, self.planners.note)
        self.scheduler = Scheduler(self.ledger, self.roster, sender.send, s.lost_after, labels)
        revoked = RevokedKeys(ujson.loads(self.ledger.ask("revoked_keys")))
        self.scheduler.events.know({name: record.state for name, record in self.roster.nodes.items()})
        membership = Membership(self.roster, self.scheduler, self._note, revoked)
        enrolment = self._make_enrolment(membership, revoked, sender, pair.public)
        rotation = Rotation(self.roster, revoked, self.ledger, sender.send)
        self.authenticator = Authenticator(context, enrolment.may_connect)
        self._load_jobs()
        self._lose_open_tasks()
        self.scheduler.release_blocked()
        grace = GRACE * s.heartbeat_interval
        dry_run = DryRun(self.roster, sender.send, blobs)
        transfer = self._keep(NodeTransfer(self.scheduler, self.roster, sender.send, blobs, files, self.fatal))
        handlers = {
            **transfer.handlers,
            "get": FileServer(blobs, self.scheduler, transfer.lent, sender).get,
            "query": ValueQueries(self.scheduler, self.roster, sender.send, grace).ask,
            "run_once_wait": self.scheduler.run_once.ask,
            "secrets_get": self.scheduler.sealed.get,
            "dry_run_result": dry_run.take,
            "new_key": rotation.take,
            "output": self.scheduler.live.take,
        }
        self._open_sessions(router, sender, enrolment, rotation, handlers)
        router.bind(paths.endpoint(s.bind_address, s.port))
        self._keep(EnrolmentPort(pair.public)).listen(paths.bind_host(s.bind_address), s.enroll_port)
        self._await(lambda: self.planners.wait_ready(READY_SECONDS), "no planner got ready")
        self.lag = LoopLag("server")
        health = Health(s, self._folder, self.roster, self.scheduler, self.ledger, enrolment, self.lag)
        self.commands = self._make_commands(membership, enrolment, rotation, labels, dry_run, health, grace)
        offered = paths.sockets_to_offer(s.socket_path, os.path.dirname(self._folder))
        operators = self._keep(OperatorSocket(self.commands, offered, s.socket_group))
        health.socket = operators.path
        periodic("history", min(HISTORY_EVERY, max(1.0, s.history / 10)), self._prune)
        self.lag.start_anew()
        self._keep(self._trail).begin()
        log.info("director %s serves at port %d, enrolment at %d, operators at %s, key %s",
                 __version__, s.port, s.enroll_port, operators.path, pair.public)  # fmt: skip

    def _make_enrolment(
        self, membership: Membership, revoked: RevokedKeys, sender: NodeSender, server_key: str
    ) -> Enrolment:
        s = self._settings
        if s.enrollment == AUTO and not is_loopback(paths.bind_host(s.bind_address)):
            log.warning("any machine of the networks %s gets a new name without a token (--enrollment auto); use "
                        "tokens where strangers can reach port %d", ", ".join(s.enroll_from), s.port)  # fmt: skip
        return Enrolment(
            self.roster, membership, TokenBook(ujson.loads(self.ledger.ask("tokens")), server_key), revoked,
            self.ledger, s.enrollment, Networks(s.enroll_from), sender.identify, s.heartbeat_interval,
            self._trail.count, self.scheduler.events.waits,
        )  # fmt: skip

    def _make_commands(
        self, membership: Membership, enrolment: Enrolment, rotation: Rotation, labels: NodeLabels, dry_run: DryRun,
        health: Health, grace: float,
    ) -> Commands:  # fmt: skip
        s = self._settings
        addresses = s.advertise_address or [own_address(s.bind_address, s.port)]
        waiting = WaitingNodes(self.scheduler, self.roster, s.lost_after)
        access = JobAccess(self.scheduler, self.roster, self.ledger)
        return Commands(
            Jobs(self.scheduler, self.roster, self.ledger, waiting),
            nodes := Nodes(self.roster, membership, enrolment, self.ledger, grace, self.lag, rotation),
            Submissions(self.scheduler, self.planners, self.ledger, self.roster, dry_run),
            Enrolments(enrolment, self.roster, self.ledger, addresses, nodes.select, nodes.revoke),
            Labels(self.roster, labels, self.ledger, nodes.select),
            Audit(self.ledger),
            health,
            self._permissions.permit,
            self._trail,
            EventFeed(self.scheduler.events, access, self.roster),
            OutputFeed(self.scheduler, self.roster, self.ledger, access),
            Explanations(self.scheduler, self.ledger, access, waiting),
        )

    def _open_sessions(
        self, router: Router, sender: NodeSender, enrolment: Enrolment, rotation: Rotation,
        handlers: Mapping[str, Handler],
    ) -> None:  # fmt: skip
        interval = self._settings.heartbeat_interval
        admission = Admission(
            sender, self.roster, self.scheduler, enrolment, self.ledger, rotation, interval, self._note
        )
        self._keep(Sessions(
            router, sender, self.roster, self.scheduler, admission, self.ledger, interval, self._note, handlers,
            StrangerLimits(router, self.roster),
        ))  # fmt: skip

    def status(self) -> str:
        """One line for the service manager."""
        nodes = self.roster.nodes
        online = sum(record.online for record in nodes.values())
        trouble = f"; the ledger cannot be written: {self.ledger.stuck}" if self.ledger.stuck else ""
        return f"{online} of {len(nodes)} nodes online, {len(self.scheduler.runs)} open jobs{trouble}"

    def wait(self) -> str:
        """Block until a signal ends the server; the reason. Raises StartError: a part that it needs has failed."""
        return self._end.get()

    def ask_to_end(self, why: str) -> None:
        """End the server; called for a signal."""
        if not self._end.ready():
            self._end.set(why)

    def read_roles(self, why: str) -> None:
        """Take the roles that the settings files have now; keep the former ones when they cannot be used."""
        try:
            grants = read_roles(self._settings.files)
            self._permissions.replace(grants)
            self._trail.note_roles(grants or ())
            log.info("roles were read again: %s", why)
        except UsageError as error:
            log.error("roles stay as they were: %s", error)

    def stop(self) -> None:
        """Stop all components, the last first; afterwards everything written to the ledger is on disk."""
        for part in reversed(self._parts):
            try:
                part.stop()
            except Exception:
                log.exception("a component could not be stopped")

    def oldest_now(self) -> float:
        """Epoch seconds now, without what the clock was set forward since the start: that makes no job old."""
        began, at = self._began
        return min(time.time(), began + time.monotonic() - at)

    # -- inside -------------------------------------------------------------------------------------------

    def _keep(self, part: Any) -> Any:
        self._parts.append(part)
        return part

    def _note(self, name: str, record: NodeRecord | None) -> None:
        """A node has changed, or is gone."""
        self.planners.note(name, record)
        self.scheduler.events.node(name, record.state if record is not None else None)

    def _await(self, ready: Any, text: str, seconds: float = READY_SECONDS) -> None:
        waiter = spawn("start", ready, vital=False)
        done = gevent.wait([waiter, self._end], count=1)
        if self._end in done:
            self._end.get()
        if not waiter.value:
            raise StartError(f"{text} within {seconds:g} s")

    def _load_nodes(self) -> None:
        now = time.monotonic()
        for part in self.ledger.stream("nodes"):
            record = NodeRecord.from_row(ujson.loads(part))
            record.offline_since = now
            self.roster.add(record)
            self.planners.note(record.name, record)  # for planners that were ready before

    def _load_jobs(self) -> None:
        count = 0
        for part in self.ledger.stream("open_jobs"):
            self.scheduler.restore(ujson.loads(part))
            count += 1
        if count:
            log.info("goes on with %d open jobs", count)

    def _lose_open_tasks(self) -> None:
        """End open tasks as lost when the ledger lost records: each of them may have run since."""
        self.ledger.lost = self.ledger.ask("lost").decode()
        if self.ledger.lost:
            jobs = len(self.scheduler.runs)
            tasks = self.scheduler.lose_open(f"{self.ledger.lost}; whether this task ran is not known")
            self.ledger.commit()
            log.error("%s: %d open tasks of %d jobs are lost, and what was accepted since is gone",
                      self.ledger.lost, tasks, jobs)  # fmt: skip
            self.ledger.ask("settle")

    def _prune(self) -> None:
        """Delete the jobs that are older than the history, a few at a time."""
        before = self.oldest_now() - self._settings.history
        fields = {"before": before, "keep": self._settings.history_jobs, "limit": HISTORY_STEP}
        while not self.ledger.stuck and ujson.loads(self.ledger.ask("prunable", **fields)):
            self.ledger.commit(("prune", fields))
            gevent.sleep(HISTORY_PAUSE)


def serve(settings: Settings) -> int:
    """Run a server until a signal ends it; the exit code."""
    logs.set_up(settings.log_level, settings.log_format)
    raise_descriptor_limit()
    descriptors.hold_back()
    heap.set_up(HEAP_KEPT)
    calm()
    server = None
    try:
        if not os.path.isdir(os.path.join(paths.state_dir(settings.state_dir, "server"), "server")):
            require_free(settings.bind_address, settings.port, settings.enroll_port)  # before a folder is made
        folder = paths.state_folder(settings.state_dir, "server")
        with locks.held(folder, "server"):
            server = Server(settings, folder)
            on_vital_death(server.fatal)
            signals.on_end(server.ask_to_end)
            if not sys.stderr.isatty():  # there SIGHUP ends the server, as it says that the terminal is gone
                signals.on_hangup(server.read_roles)
            server.start()
            service_manager.report(server.status)
            log.info("ends: %s", server.wait())
            service_manager.tell("STOPPING=1")
            server.stop()
            return 0
    except DirectorError as error:
        if server is not None:
            server.stop()
        logs.last_word(str(error), settings.log_format)
        return error.exit_code
