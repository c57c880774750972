"""A whole fleet in one process without sockets: the real scheduler, sessions, agents and journals. The world between
them can break everything: the network, the clock, and the ledger's writes that are not durable yet."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import ujson
from gevent.event import Event
from gevent.queue import Queue
from letting_in import NoStrangers, rotation
from letting_in import enrolment as new_enrolment
from simulation.client import SimulatedNode

from director import states as st
from director.agent import job_runner, job_table, outbox, recovery, session, step_runner
from director.agent.core import Agent
from director.agent.journal import Journal
from director.agent.node_transfer import NodeTransfer
from director.agent.session import Session
from director.errors import StoreError
from director.planning.plan import Plan
from director.protocol import messages
from director.runtime import greenlets
from director.scheduler import windows
from director.scheduler.choice import awaited
from director.server import (
    admission,
    dispatcher,
    enrolment,
    lifecycle,
    node_sender,
    open_jobs,
    presence,
    result_intake,
    sessions,
)
from director.server.acceptance import Accepted
from director.server.admission import Admission
from director.server.node_labels import NodeLabels
from director.server.node_sender import NodeSender
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler
from director.server.sessions import Sessions
from director.stores.serializers import ledger_letters
from director.stores.sqlite import SqliteStore
from director.verbs.base import Outcome

LOST_AFTER = 100.0
INTERVAL = 10.0
EPOCH = 1_700_000_000.0
TIMED = (
    open_jobs, lifecycle, dispatcher, presence, result_intake, sessions, admission, session, step_runner,
    job_table, outbox, recovery, enrolment,
)  # fmt: skip
SPAWNING = (lifecycle, dispatcher, sessions, admission, node_sender, session, job_runner)


class Clock:
    """Time as the modules under test see it; it passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now


class Timer:
    """A timer of the event loop, by the world's clock."""

    def __init__(self, world: World, seconds: float, repeat: float | None = None) -> None:
        self._world, self._seconds, self.repeat = world, seconds, repeat

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        self.due, self.function, self.args = self._world.clock.now + self._seconds, function, args
        self._world.timers.append(self)

    def stop(self) -> None:
        if self in self._world.timers:
            self._world.timers.remove(self)

    close = stop


class Loop:
    """What the modules under test ask of gevent where real time would pass."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.loop = self

    def get_hub(self) -> Loop:
        return self

    def timer(self, seconds: float, repeat: float | None = None) -> Timer:
        return Timer(self._world, seconds, repeat)

    def run_callback(self, function: Callable[..., Any], *args: Any) -> None:
        gevent.get_hub().loop.run_callback(function, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(gevent, name)


class Frame:
    """What the ROUTER tells of the peer."""

    def __init__(self, key: str) -> None:
        self._fields = {"User-Id": key, "Peer-Address": "192.0.2.1"}

    def get(self, name: str) -> str:
        return self._fields.get(name)


class Ledger:
    """Writes wait until they are flushed; what a crash finds waiting never was."""

    def __init__(self, store: SqliteStore, watch: Callable[[SqliteStore, str], None]) -> None:
        self.store = store
        self.alive = True
        self.pending: deque[tuple[Any, Any, bool]] = deque()
        self.stuck = ""
        self._watch = watch

    def write(self, *ops: Any, then: Any = None, refusable: bool = False, lazy: bool = False) -> None:
        if self.alive:
            kept = [(op[0], ujson.loads(ujson.dumps(op[1])), *op[2:]) for op in ops]
            self.pending.append((kept, then, refusable))

    def commit_if_possible(self) -> None:
        self.commit()

    def commit(self, *ops: Any, refusable: bool = False) -> None:
        done: Queue[str | None] = Queue()
        self.write(*ops, then=done.put, refusable=refusable)
        error = done.get()
        if error:
            raise StoreError(error)

    def flush(self, count: int = 1_000_000, refuse: bool = False) -> None:
        while self.pending and count > 0:
            ops, then, refusable = self.pending.popleft()
            count -= 1
            error = None
            if refuse and refusable:
                error = "no space left on device"
            else:
                self.store.apply(ops)
                for name in {op[1].get("job") or op[1].get("id") for op in ops if op[0] in JOB_OPS}:
                    self._watch(self.store, name)
            if then is not None:
                then(error)

    def ask(self, name: str, **args: Any) -> bytes:
        if name == "chunk":
            return self.store.chunk(args["job"], args["step"])
        assert name == "find"
        return ujson.dumps(self.store.find(args["id"])).encode()

    def wait_for_room(self, seconds: float) -> bool:
        return True


JOB_OPS = ("accept", "results", "range_ends", "job", "cursors", "late_results")


class Connection:
    """One TCP connection: two lines of messages, in order; `broken` when messages go nowhere."""

    def __init__(self, number: int, client: Client) -> None:
        self.peer = b"\0" + number.to_bytes(4, "big")
        self.client = client
        self.up: deque[list[bytes]] = deque([[b""]])
        self.down: deque[list[bytes]] = deque()
        self.broken = False
        self.noticed = False  # the server's library knows that it is gone


class Wire:
    """The server's ROUTER."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.inbox: Queue[Any] = Queue()

    def receive(self) -> Any:
        return self.inbox.get()

    def send(self, peer: bytes, *frames: bytes) -> bool:
        connection = self.world.connections[peer]
        if b'"slice"' in frames[0][:12]:
            self._check_steps(connection.client.name, *frames)
        if connection.broken:
            return not connection.noticed
        connection.down.append(list(frames))
        return True

    def _check_steps(self, name: str, header: bytes, head: bytes, *chunks: bytes) -> None:
        """A node gets steps of its own only."""
        server, job = self.world.server, ujson.loads(header)[1]["job"]
        node = server.scheduler.runs[job].nodes[name] if server is not None else None
        for step in (step["i"] for chunk in chunks for step in ujson.loads(chunk or b"[]")):
            self.world.check(
                node is not None and node.has(step), f"{name} was sent step {step} of {job} of other nodes"
            )


class ClientJournal(Journal):
    """A journal on disk that knows which part of it a loss of power would leave, and whether its client has died."""

    client: Client

    def _append(self, fields: list[Any], body: bytes = b"") -> None:
        if hasattr(self, "client") and self is not self.client.journal:
            raise gevent.GreenletExit
        super()._append(fields, body)

    def take(self, *args: Any) -> None:
        if self.client.full_disk:
            raise StoreError("no space left on device")
        super().take(*args)
        self.client.synced = self._log.size


class Client:
    """One machine: its folder survives, the agent does not."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        self.world, self.name, self.folder = world, name, folder
        self.key = name.ljust(40, "k")
        self.agent: Agent | None = None
        self.journal: ClientJournal | None = None
        self.connection: Connection | None = None
        self.waiting: list[Event] = []
        self.running: set[tuple[str, int, int]] = set()  # (job, lane, step)
        self.full_disk = False
        self.synced = 0
        self.lost_tail = False

    def start(self, rebooted: bool = False) -> None:
        if self.agent is not None:
            return
        self.journal = ClientJournal.open(str(self.folder))
        self.journal.client = self
        self.synced = self.synced or self.journal._log.size
        with self.world.owner(self):
            own = Session(self.name, self.journal, SimulatedNode(), self.transmit)
            self.agent = Agent(own, self.apply, NodeTransfer(own), 3)
            recovery.take_up(self.agent.table, rebooted)

    def crash(self) -> None:
        if self.agent is None:
            return
        assert self.journal is not None
        self.journal, old = None, self.journal
        self.agent = None
        self.disconnect(0, True)
        self.waiting.clear()
        self.running.clear()
        self.world.end_greenlets(self)
        old.close()

    def tear(self) -> None:
        """The last record is half there."""
        with open(self.folder / "journal", "ab") as file:
            file.write(b"\x40\0\0\0\0\0\0\0torn")

    def lose_power(self, share: float) -> None:
        """What was not flushed may be gone, from any byte on."""
        path = self.folder / "journal"
        size = path.stat().st_size
        keep = self.synced + int((size - self.synced) * share)
        if keep < size:
            self.lost_tail = True
            os.truncate(path, keep)

    def connect(self) -> None:
        if self.agent is not None and self.connection is None:
            self.agent.session.pulse.hear(self.world.clock.now)
            self.connection = self.world.connect(self)

    def disconnect(self, late: int, noticed: bool) -> None:
        """The connection ends; the first `late` messages on their way up may still be read."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._break(connection, late, noticed)
            if self.agent is not None:
                self.agent.session.close()

    def reconnect(self, late: int, noticed: bool) -> None:
        """The library reconnects by itself: the agent does not notice."""
        if self.connection is not None:
            self._break(self.connection, late, noticed)
            self.connection = self.world.connect(self)

    def _break(self, connection: Connection, late: int, noticed: bool) -> None:
        connection.broken, connection.noticed = True, noticed
        connection.down.clear()
        while len(connection.up) > late:
            connection.up.pop()
        self.world.stale.append(connection)

    def transmit(self, *frames: bytes) -> bool:
        if self.connection is None or self.agent is None:
            return False
        self.connection.up.append(list(frames))
        return True

    def take(self, frames: list[bytes]) -> None:
        if self.agent is not None:
            with self.world.owner(self):
                self.agent.take(frames)

    def beat(self) -> None:
        """What the link does at each beat."""
        if self.agent is None or self.connection is None:
            return
        if self.agent.session.pulse.silent(self.world.clock.now):
            self.agent.session.suspend()
            self.disconnect(0, True)
        elif self.agent.session.reconciled.is_set():
            self.agent.session.heartbeat()

    # -- work ---------------------------------------------------------------------------------------------

    def apply(self, runner: Any, held: Any, scope: Any, step: Any, running: Any) -> Outcome:
        if self.agent is None or runner is not self.agent.runner:
            raise gevent.GreenletExit
        world, job, number, lane = self.world, held.id, step["i"], step.get("lane", 0)
        assert self.journal is not None
        attempt = self.journal.jobs[job].started[number]
        world.check(runner.session.reconciled.is_set(), f"{self.name} starts {job}/{number} before it has reconciled")
        beside = [s for j, other, s in self.running if j == job and (other == lane or not lane or not other)]
        world.check(not beside, f"{self.name} runs {job}/{number} beside {beside}")
        world.check(
            world.may_run(job, self.name, number), f"{self.name} runs {job}/{number} before what runs once before it"
        )
        last = world.last.get((job, self.name, lane), -1)
        world.check(number >= last, f"{self.name} runs {job}/{number} after {last}")
        world.last[job, self.name, lane] = number
        world.ran[job, self.name, number, attempt] += 1
        self.running.add((job, lane, number))
        try:
            if step["body"]["waits"]:
                event = Event()
                self.waiting.append(event)
                event.wait()
        finally:
            self.running.discard((job, lane, number))
        letters = step["body"]["letters"]
        letter = letters[min(attempt, len(letters)) - 1]
        world.ended[job, self.name, number] = letter
        return Outcome(ord(letter), reason="" if letter in "SC" else "as told", stdout=b"out")

    def finish(self) -> None:
        """Let every step that waits come to its end."""
        waiting, self.waiting = self.waiting, []
        for event in waiting:
            event.set()


class Server:
    """The server's components without sockets and processes, started from what the store has."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger: Any = Ledger(world.store, world.watch)
        self.roster = Roster()
        self.wire: Any = Wire(world)
        for row in world.store.nodes():
            record = NodeRecord(row["name"], row["key"])
            record.journal_position, record.instance = row["journal_position"] or 0, row["instance"] or ""
            record.offline_since = world.clock.now
            self.roster.add(record)
        sender = NodeSender(self.wire, self.roster)
        self.scheduler = Scheduler(
            self.ledger, self.roster, sender.send, LOST_AFTER, NodeLabels(sender.send, lambda name, record: None)
        )
        for job in world.store.open_jobs():
            self.scheduler.restore(ujson.loads(ujson.dumps(job)))
        letting_in = new_enrolment(self.roster, self.scheduler, self.ledger, sender.identify, interval=INTERVAL)
        shared: Any = {"ledger": self.ledger, "interval": INTERVAL, "note": lambda name, record: None}
        self.sessions = Sessions(
            self.wire, sender, self.roster, self.scheduler,
            Admission(
                sender, self.roster, self.scheduler, letting_in,
                rotation=rotation(self.roster, self.ledger, sender), **shared,
            ), **shared,
            handlers={**dict.fromkeys(messages.KINDS, ignore), "run_once_wait": self.scheduler.run_once.ask},
            strangers=NoStrangers(),
        )  # fmt: skip
        self.sender = sender
        world.spawn("release", self.scheduler.release_blocked)


def ignore(record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
    """The handler of kinds that no client of the world sends."""


class World:
    """Everything, and what is known to have happened in it."""

    def __init__(self, names: list[str]) -> None:
        self.clock = Clock()
        self.store = SqliteStore()
        self.connections: dict[bytes, Connection] = {}
        self.stale: list[Connection] = []
        self.errors: list[str] = []
        self.ran: Counter[tuple[str, str, int, int]] = Counter()
        self.ended: dict[tuple[str, str, int], str] = {}
        self.last: dict[tuple[str, str, int], int] = {}
        self.finals: dict[tuple[str, str, int], int] = {}
        self.accepted: set[str] = set()
        self.cancels: set[str] = set()  # asked for
        self.cancelled: set[str] = set()  # answered
        self.metas: dict[str, dict[str, Any]] = {}
        self.timers: list[Timer] = []
        self._owner: Any = None
        self._greenlets: dict[Any, list[Any]] = {}
        self._patch = pytest.MonkeyPatch()
        self._log = _Errors(self.errors)
        self._arrange()
        self.root = Path(
            tempfile.mkdtemp(prefix="director-model-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        )
        self.clients = {name: Client(self, name, self.root / name) for name in names}
        self.store.apply([("node", {"name": c.name, "key": c.key}) for c in self.clients.values()])
        self.server: Server | None = None

    def _arrange(self) -> None:
        for module in TIMED:
            self._patch.setattr(module, "time", self.clock)
        for module in SPAWNING:
            self._patch.setattr(module, "spawn", self.spawn, raising=False)
        self._patch.setattr(job_runner, "spawn_pooled", self.spawn)
        self._patch.setattr(outbox, "get_hub", lambda: Loop(self))
        self._patch.setattr(step_runner, "gevent", Loop(self))
        self._patch.setattr(sessions, "periodic", lambda *args: None)
        self._patch.setattr(node_sender, "LONGEST", 0.0)
        self._patch.setattr(windows, "WINDOW", 4)
        self._patch.setattr(step_runner, "RUNNING_AFTER", 0.0)
        self._patch.setattr(step_runner, "RETRY_FIRST", 0.0)
        self._patch.setattr(outbox, "BATCH_SECONDS", 0.0)
        self._patch.setattr(outbox, "BATCH_ROWS", 3)
        logger = logging.getLogger("director")
        self._patch.setattr(logger, "propagate", False)
        self._patch.setattr(logger, "handlers", [self._log])

    def close(self) -> None:
        for client in self.clients.values():
            client.crash()
        self.crash_server()
        self._patch.undo()
        shutil.rmtree(self.root)

    # -- greenlets ----------------------------------------------------------------------------------------

    def spawn(self, name: str, function: Any, *args: Any, vital: bool = False, after: float | None = None) -> Any:
        """Like `greenlets.spawn`, by this world's clock, and it is known whose the greenlet is."""
        if after is not None:
            timer = Timer(self, after)
            timer.start(function, *args)
            return timer
        greenlet = greenlets.spawn(name, function, *args, vital=vital)
        owner = self._owner or getattr(gevent.getcurrent(), "owner", None)
        greenlet.owner = owner
        self._greenlets.setdefault(owner, []).append(greenlet)
        return greenlet

    @contextlib.contextmanager
    def owner(self, owner: Any) -> Iterator[None]:
        before, self._owner = self._owner, owner
        try:
            yield
        finally:
            self._owner = before

    def end_greenlets(self, owner: Any) -> None:
        gevent.killall(self._greenlets.pop(owner, []))

    def run(self, turns: int = 10) -> None:
        """Let greenlets go on; nothing of it yields for longer than a turn."""
        for timer in [timer for timer in self.timers if timer.due <= self.clock.now]:
            if timer.repeat is None:
                timer.close()
            gevent.spawn(timer.function, *timer.args)
        for _ in range(turns):
            greenlets.breathe()

    # -- the server ---------------------------------------------------------------------------------------

    def start_server(self) -> None:
        if self.server is None:
            with self.owner("server"):
                self.server = Server(self)
            self.run()

    def crash_server(self) -> None:
        if self.server is None:
            return
        self.server.ledger.alive = False
        self.server = None
        self.end_greenlets("server")
        for client in self.clients.values():
            if client.connection is not None:
                client.reconnect(0, True)
        self.stale.clear()

    def submit(self, jobs: list[tuple[str, Plan, float]]) -> None:
        """Files that follow one another, in one submission."""
        if self.server is None:
            return
        made = []
        for name, plan, valid_for in jobs:
            meta = plan.meta()
            record = {
                "id": name, "name": name, "kind": "exec", "created_at": self.clock.time(), "submitted_by": "root",
                "digest": "d", "options": {"valid_for": valid_for, "args": {}}, "digests": {},
            }  # fmt: skip
            made.append(Accepted(meta, plan.chunks(), record))
            self.metas[name] = meta
        for before, after in itertools.pairwise(made):
            before.meta["before"], after.meta["after"] = after.record["id"], before.record["id"]
        with self.owner("server"):
            self.spawn("submit", self._submit, self.server.scheduler, made)

    def _submit(self, scheduler: Scheduler, made: list[Accepted]) -> None:
        try:
            scheduler.accept(made)
        except StoreError:
            return
        self.accepted |= {job.record["id"] for job in made}

    def cancel(self, job: str) -> None:
        if self.server is not None and job in self.server.scheduler.runs:
            self.cancels.add(job)
            with self.owner("server"):
                self.spawn("cancel", self._cancel, self.server.scheduler, job)

    def _cancel(self, scheduler: Scheduler, job: str) -> None:
        if scheduler.cancel(job, "the user's wish"):
            self.cancelled.add(job)

    # -- the network --------------------------------------------------------------------------------------

    def connect(self, client: Client) -> Connection:
        connection = Connection(len(self.connections) + 1, client)
        self.connections[connection.peer] = connection
        return connection

    def deliver_up(self, connection: Connection, twice: bool = False) -> None:
        """The server reads one message."""
        if self.server is None or not connection.up:
            return
        frames = connection.up.popleft()
        frame = Frame(connection.client.key)
        for _ in range(2 if twice and b'"results"' in frames[0][:12] else 1):
            self.server.wire.inbox.put((connection.peer, frame, frames))

    def deliver_down(self, connection: Connection, twice: bool = False) -> None:
        """The client reads one message."""
        if connection.down:
            frames = connection.down.popleft()
            for _ in range(2 if twice and b'"slice"' in frames[0][:12] else 1):
                connection.client.take(frames)

    def exchange(self) -> None:
        """Everything that is on its way arrives."""
        for client in self.clients.values():
            connection = client.connection
            while connection is not None and connection.up and self.server is not None:
                self.deliver_up(connection)
            while connection is not None and connection.down:
                self.deliver_down(connection)

    def pass_time(self, seconds: float) -> None:
        """In steps of a beat; who is connected says that it lives, and is heard."""
        while seconds > 0:
            self.clock.now += min(seconds, INTERVAL)
            seconds -= INTERVAL
            for client in self.clients.values():
                client.beat()
            self.run(4)
            self.exchange()
            self.run(4)
            self.exchange()
            if self.server is not None:
                self.server.sessions.tick()
            self.run(4)

    # -- what must hold -----------------------------------------------------------------------------------

    def check(self, well: bool, text: str) -> None:
        if not well:
            self.errors.append(text)

    def may_run(self, job: str, name: str, step: int) -> bool:
        """Whether others' run-once steps before it in its stage went well, as the server says, if there is one."""
        run = self.server.scheduler.runs.get(job) if self.server is not None else None
        return run is None or all(run.went_well(*one) for one in awaited(run, step) if one[0].node != name)

    def letters(self, job: str) -> dict[str, bytearray]:
        """States of all tasks as the ledger alone tells them."""
        with self.store.view(job) as view:
            return dict(zip(view.nodes, ledger_letters(view), strict=True))

    def watch(self, store: SqliteStore, job: str) -> None:
        """After every write: what was final is as it was."""
        if store.find(job) is None:
            return
        for node, states in self.letters(job).items():
            for step, letter in enumerate(states):
                known = self.finals.get((job, node, step))
                if known is not None:
                    self.check(letter == known, f"{job}/{node}/{step} was {chr(known)} and became {chr(letter)}")
                elif letter in st.FINAL:
                    self.finals[job, node, step] = letter

    def check_now(self) -> None:
        """What holds at every moment."""
        for key, times in self.ran.items():
            self.check(times == 1, f"{key} ran {times} times")
        if self.server is not None:
            for run in self.server.scheduler.runs.values():
                counted = Counter(letter for node in run.nodes.values() for letter in node.states)
                counted.pop(st.NONE, None)
                self.check(all(run.counts[letter] == counted[letter] for letter in range(256)), f"{run.id} counts")
        assert not self.errors, self.errors

    def heal(self, but: str = "") -> None:
        """Everything comes back (but one client) and stays; nobody helps."""
        self.start_server()
        for client in self.clients.values():
            client.full_disk = False
            if client.name == but:
                client.crash()
            else:
                client.start()
        self.stale.clear()
        if but:
            self.pass_time(3 * LOST_AFTER)
        for turn in range(400):
            assert self.server is not None
            for client in self.clients.values():
                client.connect()
                client.finish()
            self.exchange()
            self.run(3)
            self.server.ledger.flush()
            if turn % 10 == 9:
                self.pass_time(INTERVAL)
            if turn % 10 == 0 and self._at_rest(but):
                return
        raise AssertionError(f"not final: {self._picture()} {self.errors}")

    def _at_rest(self, but: str) -> bool:
        assert self.server is not None
        held = [c.agent.session.jobs for c in self.clients.values() if c.agent is not None and c.agent.session.jobs]
        return not self.server.scheduler.runs and not self.server.ledger.pending and not held

    def _picture(self) -> Any:
        assert self.server is not None
        runs = {
            run.id: (run.state, run.barriers.limit, run.blocked, run.cancelled,
                     {n.node: (n.states.decode(), n.cursor, n.epoch) for n in run.nodes.values()})
            for run in self.server.scheduler.runs.values()
        }  # fmt: skip
        held = {
            c.name: {job: (h.cursor, h.dead, h.cancelled, list(h.running)) for job, h in c.agent.session.jobs.items()}
            for c in self.clients.values()
            if c.agent is not None
        }
        return runs, held

    def check_end(self, but: str = "") -> None:
        """What holds when all is over."""
        assert self.server is not None
        assert self.server.scheduler.jobs.tasks == 0
        for name in self.accepted:
            assert self.store.find(name) is not None, f"{name} was acknowledged and is gone"
        for job in self.metas:
            if self.store.find(job) is not None:
                self._check_job(job)
        for client in self.clients.values():
            if client.name != but:
                assert client.journal is not None
                assert not client.journal.jobs, f"{client.name} did not forget"
        self.check_now()

    def _check_job(self, job: str) -> None:
        letters = self.letters(job)
        counts = st.count(letter for states in letters.values() for letter in states)
        listed = ujson.loads(self.store.list_jobs({"ids": [job]}, {}))[0]
        assert listed["tasks"] == counts
        assert not counts["queued"] and not counts["sent"] and not counts["running"]
        ignored = set(self.metas[job]["ignored"])
        failed = any(
            letter == st.LOST or (letter in st.BAD and step not in ignored)
            for states in letters.values()
            for step, letter in enumerate(states)
        )
        assert listed["state"] == st.job_verdict(failed, counts["cancelled"] > 0, counts["expired"] > 0), listed
        for name, states in letters.items():
            for step, letter in enumerate(states):
                self._check_task(job, name, step, letter)

    def _check_task(self, job: str, node: str, step: int, letter: int) -> None:
        """What the ledger says ran did run; what ran is not called anything else, but it may be lost."""
        where = f"{job}/{node}/{step} is {chr(letter)}"
        began = any(key[:3] == (job, node, step) for key in self.ran)
        ended = self.ended.get((job, node, step))
        if chr(letter) in "SCFT":
            assert ended == chr(letter), f"{where} and ended {ended}"
        elif began:
            assert letter in (st.LOST, st.CANCELLED), f"{where} and ran"
        if letter == st.CANCELLED:
            assert job in self.cancels or "after" in self.metas[job], where
            if began:
                assert ended in (None, "F", "T"), f"{where} and ended {ended} before"


class _Errors(logging.Handler):
    """Nothing may go wrong unseen: a greenlet that died, a handler that raised."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._errors.append(logging.Formatter().format(record))


def probe(world: World, name: str) -> None:
    """A second key has asked for the name: its holder is asked whether it lives."""
    if world.server is not None:
        record = world.server.roster.nodes[name]
        if record.peer is not None:
            world.server.sender.identify(record.peer)
