"""Starts a client and ends it in order."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import gevent
from gevent.event import AsyncResult

from director import __version__, ids, process
from director.agent import facts
from director.agent.blob_fetcher import Fetcher
from director.agent.connection import Connection
from director.agent.core import Agent
from director.agent.dry_run import DryRun
from director.agent.executor import Executor, marker_place, task_token
from director.agent.journal import Journal
from director.agent.journal.base import DiskJournal
from director.agent.node_transfer import NodeTransfer
from director.agent.profile import Profile
from director.agent.reboot import Rebooter
from director.agent.recovery import may_run, take_up
from director.agent.step_cache import StepCache
from director.config.settings import Settings
from director.errors import DirectorError, StartError, UsageError
from director.protocol import keys
from director.protocol.transport import new_context
from director.runtime import heap, locks, logs, paths, service_manager, signals
from director.runtime.greenlets import on_vital_death, periodic, spawn
from director.runtime.loop_lag import LoopLag
from director.transfer.blobs import BlobStore

log = logging.getLogger(__name__)

FACTS_EVERY = 600.0
BLOBS_EVERY = 600.0
BLOBS_MOST = 2 << 30  # bytes of contents that are kept though no task needs them now
BLOB_AGE = 24 * 3600.0
REAP_EVERY = 10.0  # seconds between two waits for adopted processes that have ended


class Client:
    """One running client."""

    def __init__(self, settings: Settings, folder: str) -> None:
        self._settings = settings
        self._end: AsyncResult[str] = AsyncResult()
        started = time.time()
        journal = Journal.open(folder)
        process.CGROUP.open(os.path.join(folder, "cgroup"), f"director-client-{journal.instance}")
        self.profile = Profile(folder, facts.read())
        self.blobs = BlobStore(os.path.join(folder, "blobs"), gevent.sleep)
        fetcher = Fetcher(self.blobs)
        self.chains = StepCache(os.path.join(folder, "chains"))
        exchange = NodeTransfer()
        executor = Executor(settings.identity, self.profile.facts, self.profile.labels, fetcher, self.chains, exchange)
        self.agent = Agent(
            settings.identity, DiskJournal(journal), executor.apply, self.profile.as_message, settings.concurrency,
            {"agent_uptime": started, "host_uptime": facts.boot_epoch()},
        )  # fmt: skip
        self.agent.on_chunk = fetcher.take
        self.agent.on_effects = self._take_effects
        self.agent.on_inherit = self.profile.inherit
        foresight = DryRun(executor, self.profile.args, lambda *frames: self.agent.transmit(*frames))
        self.agent.on_foresee = foresight.take
        exchange.connect(self.agent)
        self.agent.on_close = self.chains.end
        fetcher.send = lambda *frames: self.agent.transmit(*frames)
        executor.pids = settings.task_pids or process.default_pids()
        executor.memory = settings.task_memory or 0
        executor.place = marker_place(os.path.dirname(folder))
        executor.rebooter = Rebooter(self.agent, journal.boot.id, settings.reboot_command, executor.base)
        self._executor = executor
        self._journal = journal
        self.link = Connection(
            self.agent, new_context(), keys.load_or_make(folder), folder,
            settings.server_address, settings.port, settings.enroll_port,
        )  # fmt: skip

    def start(self) -> None:
        """End what an earlier client left running, take up its jobs, connect."""
        records = self._journal.replay()
        former = self._journal.former
        copied = former != self._journal.instance
        left = [(job, step) for job, record in records.items() for step in may_run(record, copied)]
        place = self._executor.place
        tokens = [task_token(place, former, job, step) for job, step in left]
        if ended := process.end_leftovers(tokens, f"{place}.", inside=process.CGROUP.left):
            log.warning("ended %d processes that an earlier client had left", ended)
        process.CGROUP.enter()
        take_up(self.agent, records, self._journal.boot.changed, self._journal.boot.id)
        gauge = LoopLag("client")
        self.agent.lag = gauge.take
        periodic("adopted processes", REAP_EVERY, process.reap_adopted)
        periodic("facts", FACTS_EVERY, self._read_facts)
        periodic("chains", BLOBS_EVERY, self.chains.sweep)
        periodic("blob cache", BLOBS_EVERY, self._sweep_blobs)
        spawn("link", self._run_link, vital=True)
        service_manager.report(self.status)
        log.info("director %s client %s, server %s, %s", __version__, self.agent.name,
                 self._settings.server_address, self._told())  # fmt: skip

    def status(self) -> str:
        """One line for the service manager."""
        agent, server = self.agent, self._settings.server_address
        if not agent.settled.is_set():
            return f"not connected to {server}: {agent.refused or self.link.trouble or 'connecting'}"
        trouble = f"; {agent.trouble}" if agent.trouble else ""
        return f"connected to {server} as {agent.name}, {agent.slots.count - agent.slots.free} tasks running{trouble}"

    def wait(self) -> str:
        """Until a signal; raises what makes going on senseless."""
        return self._end.get()

    def ask_to_end(self, why: str) -> None:
        """SIGTERM begins an orderly end; a second one ends at once and loses nothing that was acknowledged."""
        if self._end.ready():
            os._exit(1)
        self._end.set(why)

    def stop(self) -> None:
        """Drain, report, say goodbye."""
        service_manager.tell("STOPPING=1")
        self.agent.drain(self._settings.drain)
        deadline = time.monotonic() + 2.0
        while not self.agent.outbox.empty and self.agent.outbox.open and time.monotonic() < deadline:
            gevent.sleep(0.02)
        self.link.stop("the client was stopped")

    def fatal(self, reason: str) -> None:
        """Something without which there is no client has failed."""
        if not self._end.ready():
            self._end.set_exception(StartError(reason))

    def _run_link(self) -> None:
        try:
            self.link.run()
        except DirectorError as error:
            self._end.set_exception(error)

    def _read_facts(self) -> None:
        fresh = facts.read()
        if fresh != self.profile.facts:
            self.profile.facts = self._executor.facts = fresh
            self.agent.send_profile()

    def _sweep_blobs(self) -> None:
        self.blobs.sweep((), BLOB_AGE)
        self.blobs.trim(BLOBS_MOST)

    def _take_effects(self, effects: dict[str, Any]) -> bool:
        """What a step did to the node itself; whether the server must hear of it."""
        evicted = effects.get("evict", ())
        if "jobs" in evicted:
            self.chains.clear()
        if "args" in evicted:
            self.profile.forget_args()
        labels = effects.get("labels", {})
        labelled = any(self.profile.labels.get(name) != value for name, value in labels.items())
        if labelled or "arg" in effects:
            self.profile.take(effects)
        return bool(evicted) or labelled or "arg" in effects

    def _told(self) -> str:
        """The settings that were given, and where each came from."""
        given = {name: where for name, where in self._settings.sources.items() if where != "default"}
        shown = ("identity", "server-address", "port", "enroll-port", "concurrency", "drain", "state-dir")
        told = [f"{n}={getattr(self._settings, n.replace('-', '_'))} ({given[n]})" for n in shown if n in given]
        return "settings: " + (", ".join(told) or "defaults")


def serve(settings: Settings) -> int:
    """Run a client until it is told to end; the exit code."""
    logs.set_up(settings.log_level, settings.log_format)
    os.umask(0o022)
    heap.give_back()
    process.seal_descriptors()
    process.become_subreaper()
    try:
        why = ids.name_fault(settings.identity)
        if why:
            raise UsageError(f"--identity {settings.identity}: {why}")
        folder = paths.state_folder(settings.state_dir, "client")
        with locks.held(folder, "client"):
            client = Client(settings, folder)
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
