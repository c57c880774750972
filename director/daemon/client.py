"""The process of a client: creates its components, starts and stops it."""

from __future__ import annotations

import logging
import os
import time

import gevent
from gevent.event import AsyncResult

from director import __version__, ids, process
from director.agent import facts
from director.agent.connection import Connection
from director.agent.content_fetcher import Fetcher
from director.agent.core import Agent, Handler
from director.agent.dry_run import DryRun
from director.agent.executor import Executor
from director.agent.journal import Journal
from director.agent.node_keys import KeyRotation, NodeKeys
from director.agent.node_rules import NodeRules, rules_of
from director.agent.node_transfer import NodeTransfer
from director.agent.profile import Profile
from director.agent.reboot import Rebooter
from director.agent.recovery import may_run, take_up
from director.agent.secret_keeper import SecretKeeper
from director.agent.server_identity import ServerIdentity, given_token
from director.agent.session import Session
from director.agent.step_cache import StepCache
from director.agent.task_process import marker_place, task_token
from director.config.settings import Settings
from director.errors import DirectorError, StartError, UsageError
from director.protocol.context import new_context
from director.protocol.tokens import Token
from director.runtime import durable, heap, locks, logs, memory_folders, paths, privileges, service_manager, signals
from director.runtime.greenlets import on_vital_death, periodic, spawn
from director.runtime.loop_lag import LoopLag
from director.transfer.blobs import BlobStore
from director.transfer.unfinished import Unfinished

log = logging.getLogger(__name__)

FACTS_EVERY = 600.0  # seconds, as all of these
BLOBS_EVERY = 600.0
BLOBS_MOST = 2 << 30  # bytes of contents that are kept though no task needs them now
BLOB_AGE = 24 * 3600.0
TIDY_EVERY = 10.0  # seconds between two waits for adopted processes that have ended; freed memory is given back then


class Client:
    """One running client; the components are created in the order of their dependencies.

    Args:
        folder: the state folder, locked by the caller.
        token: the one that enrols a new client.
        rules: what this node refuses.

    Raises:
        UsageError: the server's address is malformed. StoreError: the state folder cannot be read or written.
        StartError: no thread can be started.
    """

    def __init__(self, settings: Settings, folder: str, token: Token | None, rules: NodeRules) -> None:
        self._settings = settings
        self._end: AsyncResult[str] = AsyncResult()
        started = {"agent_uptime": time.time(), "host_uptime": facts.boot_epoch()}
        node_keys = NodeKeys(folder)
        given = settings.sources.get("server-address") != "default"
        self.server = ServerIdentity(
            folder, node_keys.pair.public, settings.server_address if given else None, settings.port,
            settings.enroll_port, settings.server_key, token,
        )  # fmt: skip
        self.connection = Connection(new_context(), node_keys, self.server)
        self._journal = Journal.open(folder)
        process.CGROUP.open(os.path.join(folder, "cgroup"), f"director-client-{self._journal.instance}")
        self.step_cache = StepCache(os.path.join(folder, "step-cache"))
        self.profile = Profile(folder, facts.read(), self.step_cache)
        self.blobs = BlobStore(os.path.join(folder, "blobs"), gevent.sleep)
        self._lag = LoopLag("client")
        send = self.connection.send
        self.session = Session(
            settings.identity, self._journal, self.profile, send, started, self._lag.take, self.server.credentials,
            lambda: node_keys.pair.sealing,
        )  # fmt: skip
        fetcher = Fetcher(self.blobs, send)
        transfer = NodeTransfer(self.session, rules.check_giving)
        executor = Executor(
            settings.identity, self.profile.facts, self.profile.labels, fetcher, self.step_cache, transfer,
            rules,
        )  # fmt: skip
        executor.pids = settings.task_pids or process.default_pids()
        executor.memory = settings.task_memory or 0
        executor.unfinished = Unfinished(os.path.join(folder, "unfinished"))
        executor.place = marker_place(os.path.dirname(folder))
        executor.secrets = SecretKeeper(transfer, lambda: node_keys.pair.opening)
        logs.hide_with(executor.secrets.hide)
        dry_run = DryRun(executor, self.profile.args, send)
        rotation = KeyRotation(node_keys, send, self.session.identify, self.connection.reconnect)
        handlers: dict[str, Handler] = {"contents": fetcher.take, "dry_run": dry_run.take, **rotation.handlers}
        self.agent = Agent(self.session, executor.apply, transfer, settings.concurrency, handlers, fetcher.repeat)
        executor.rebooter = Rebooter(self.agent.runner, self._journal.boot, settings.reboot_command, executor.env)
        self._executor = executor

    def start(self) -> None:
        """End the processes that an earlier client left, continue its jobs, connect."""
        journal, place = self._journal, self._executor.place
        copied = journal.former != journal.instance
        left = [(job, step) for job, record in journal.jobs.items() for step in may_run(record, copied)]
        tokens = [task_token(place, journal.former, job, step) for job, step in left]
        if ended := process.end_leftovers(tokens, f"{place}.", inside=process.CGROUP.left):
            log.warning("ended %d processes that an earlier client had left", ended)
        memory_folders.sweep(place)
        if self._executor.unfinished and (files := self._executor.unfinished.remove()):
            log.warning("removed %d half-written files that an earlier client had left", files)
        process.CGROUP.enter()
        take_up(self.agent.table, journal.rebooted, journal.boot)
        self._lag.start_anew()
        periodic("facts", FACTS_EVERY, self._read_facts)
        periodic("step cache", BLOBS_EVERY, self.step_cache.sweep)
        periodic("blob cache", BLOBS_EVERY, self._sweep_blobs)
        periodic("adopted processes", TIDY_EVERY, _tidy)
        spawn("connection", self._run_connection, vital=True)
        service_manager.report(self.status)
        log.info("director %s client %s, server %s, %s", __version__, self.session.name,
                 self.server.shown, self._given_settings())  # fmt: skip

    def status(self) -> str:
        """One line for the service manager."""
        session, server = self.session, self.server.shown
        if not session.reconciled.is_set():
            return f"not connected to {server}: {session.refused or self.connection.trouble or 'connecting'}"
        slots, trouble = self.agent.runner.slots, f"; {session.trouble}" if session.trouble else ""
        return f"connected to {server} as {session.name}, {slots.count - slots.free} tasks running{trouble}"

    def wait(self) -> str:
        """Block until a signal asks the client to end; gives the signal's name. Raises what makes going on useless."""
        return self._end.get()

    def ask_to_end(self, why: str) -> None:
        """End in order; a second call ends at once and loses nothing that was acknowledged."""
        if self._end.ready():
            os._exit(1)
        self._end.set(why)

    def stop(self) -> None:
        """Drain, report, say goodbye."""
        service_manager.tell("STOPPING=1")
        self.agent.runner.drain(self._settings.drain)
        self.step_cache.save()
        deadline, outbox = time.monotonic() + 2.0, self.session.outbox
        while not outbox.empty and outbox.open and time.monotonic() < deadline:
            gevent.sleep(0.02)
        self.connection.stop("the client was stopped")

    def fatal(self, reason: str) -> None:
        """End with an error: a vital greenlet has died."""
        if not self._end.ready():
            self._end.set_exception(StartError(reason))

    def _run_connection(self) -> None:
        try:
            self.connection.run(self.agent)
        except DirectorError as error:
            self._end.set_exception(error)

    def _read_facts(self) -> None:
        fresh = facts.read()
        if fresh != self.profile.facts:
            self.profile.facts = self._executor.facts = fresh
            self.session.send_profile()

    def _sweep_blobs(self) -> None:
        self.blobs.sweep((), BLOB_AGE)
        self.blobs.trim(BLOBS_MOST)

    def _given_settings(self) -> str:
        """The settings that are not defaults, and where each came from."""
        given = {name: where for name, where in self._settings.sources.items() if where != "default"}
        shown = ("identity", "server-address", "port", "enroll-port", "concurrency", "drain", "state-dir",
                 "allow-verbs", "deny-verbs", "read-only", "no-root")  # fmt: skip
        texts = [f"{n}={getattr(self._settings, n.replace('-', '_'))} ({given[n]})" for n in shown if n in given]
        return "settings: " + (", ".join(texts) or "defaults")


def _tidy() -> None:
    process.reap_adopted()
    heap.trim()


def serve(settings: Settings) -> int:
    """Run a client until it is told to end; the exit code."""
    logs.set_up(settings.log_level, settings.log_format)
    os.umask(0o022)
    heap.set_up()
    durable.use_threads()
    process.seal_descriptors()
    process.become_subreaper()
    try:
        why = ids.name_fault(settings.identity)
        if why:
            raise UsageError(f"--identity {settings.identity}: {why}")
        rules, token = rules_of(settings), given_token(settings.token_file)
        folder = paths.state_folder(settings.state_dir, "client")
        if rules.user:
            process.CGROUP.offer(rules.user)
            privileges.become(rules.user, folder)  # before anything in the folder is opened: it may be that user's
        with locks.held(folder, "client"):
            client = Client(settings, folder, token, rules)
            on_vital_death(client.fatal)
            signals.on_end(client.ask_to_end)
            try:
                client.start()
                log.info("ends: %s", client.wait())
                client.stop()
            finally:
                process.CGROUP.leave()
            return 0
    except DirectorError as error:
        logs.last_word(str(error), settings.log_format)
        return error.exit_code
