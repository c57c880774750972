"""Single histories that once went wrong, or that a search would seldom find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from world import EPOCH, LOST_AFTER, World, probe

from director.errors import ProtocolError
from director.planning.plan import Plan, PlannedStage, PlannedStep
from director.scheduler import windows
from director.server.acceptance import Acceptance
from director.server.scheduler import Scheduler

JOB = "a000000000000001"


@pytest.fixture
def world() -> Iterator[World]:
    made = World(["a", "b"])
    made.start_server()
    for client in made.clients.values():
        client.start()
        client.connect()
    settle(made)
    yield made
    made.close()


def settle(world: World, turns: int = 6) -> None:
    for _ in range(turns):
        world.exchange()
        world.run()
        if world.server is not None:
            world.server.ledger.flush()
        world.run()


def plan(*letters: str, nodes: tuple[str, ...] = ("a",), waits: bool = False, barrier: int = -1, **flags: Any) -> Plan:
    stages = [PlannedStage(0, "", list(nodes)), PlannedStage(1, "", list(nodes))]
    steps = []
    for index, letter in enumerate(letters):
        stage = stages[0 <= barrier <= index]
        row = {
            "i": index, "verb": "RUN", "text": "RUN x", "stage": stage.index, "line": 1, "flags": flags,
            "body": {"letters": letter, "waits": waits},
        }  # fmt: skip
        steps.append(PlannedStep(row, stage))
    return Plan(stages, steps)


def submit(world: World, made: Plan, job: str = JOB, valid_for: float = 60.0) -> None:
    world.submit([(job, made, valid_for)])
    world.run()


def states(world: World, job: str = JOB) -> dict[str, str]:
    return {name: letters.decode() for name, letters in world.letters(job).items()}


def row(step: int, letter: str = "S", out: int = 0) -> list[Any]:
    return [step, letter, 0, 1.0, 2.0, 1.0, 0, 1, "why", 0, out, 0, None]


def test_a_job_runs_to_its_end(world: World) -> None:
    submit(world, plan("S", "S", nodes=("a", "b"), barrier=1))
    settle(world)
    assert states(world) == {"a": "SS", "b": "SS"}
    world.heal()
    world.check_end()


def test_a_refused_submission_leaves_nothing_behind(world: World) -> None:
    assert world.server is not None
    submit(world, plan("S"))
    world.server.scheduler.online(world.server.roster.nodes["a"])
    world.run()
    world.server.ledger.flush(refuse=True)
    settle(world)
    assert not world.ran
    assert not world.server.scheduler.runs
    assert world.server.scheduler.jobs.tasks == 0
    assert world.store.find(JOB) is None


def test_nothing_is_sent_before_it_may_be(world: World) -> None:
    submit(world, plan("S"))
    world.exchange()
    world.run()
    assert not world.ran
    settle(world)
    assert states(world) == {"a": "S"}


def once(letter: str) -> Plan:
    """A run-once step that a runs and that waits, then one for both."""
    stage = PlannedStage(0, "", ["a", "b"])
    rows = [
        {"i": index, "verb": "RUN", "text": "RUN x", "stage": 0, "line": 1, "flags": {}, "body": body}
        for index, body in enumerate(({"letters": letter, "waits": True}, {"letters": "S", "waits": False}))
    ]
    return Plan([stage], [PlannedStep(rows[0], stage, ["a"], True, choose=["a", "b"]), PlannedStep(rows[1], stage)])


@pytest.mark.parametrize("dies", [False, True])
def test_nobody_goes_on_before_the_run_once_step_is_on_disk(world: World, dies: bool) -> None:
    submit(world, once("S"))
    settle(world)
    world.clients["a"].finish()
    for _ in range(5):
        world.run()
        world.exchange()
    assert world.ran == {(JOB, "a", 0, 1): 1, (JOB, "a", 1, 1): 1}
    if dies:
        world.crash_server()
        world.heal()
    settle(world)
    assert states(world) == {"a": "SS", "b": "-S"}
    world.heal()
    world.check_end()


@pytest.mark.parametrize("away", [False, True])
def test_what_waits_behind_a_run_once_step_that_fails_is_skipped(world: World, away: bool) -> None:
    submit(world, once("F"))
    settle(world)
    assert states(world) == {"a": "ss", "b": "-s"}
    if away:
        world.clients["b"].crash()
    world.clients["a"].finish()
    settle(world)
    assert states(world) == {"a": "FK", "b": "-K"}
    world.heal()
    world.check_end()


def test_a_result_is_acknowledged_when_it_is_on_disk(world: World) -> None:
    submit(world, plan("S", waits=True))
    settle(world)
    client = world.clients["a"]
    client.finish()
    world.run()
    world.exchange()
    world.run()
    world.exchange()
    assert client.journal is not None
    assert list(client.journal.waiting())
    settle(world)
    assert not list(client.journal.waiting())
    assert not client.journal.jobs


def test_a_cancel_beside_the_last_result_ends_the_job_once(world: World) -> None:
    assert world.server is not None
    submit(world, plan("S", waits=True))
    settle(world)
    world.cancel(JOB)
    world.clients["a"].finish()
    settle(world)
    assert world.server.scheduler.jobs.tasks == 0
    assert not world.server.scheduler.runs


def test_cancelled_jobs_are_forgotten_by_nodes_that_held_nothing(world: World) -> None:
    submit(world, plan("S", "S", nodes=("a", "b"), barrier=1))
    for client in world.clients.values():
        client.finish()
    world.clients["b"].disconnect(0, True)
    settle(world)
    world.cancel(JOB)
    settle(world)
    world.clients["b"].connect()
    settle(world)
    assert all(client.agent is not None and not client.agent.session.jobs for client in world.clients.values())


def test_a_late_result_is_kept_beside_the_state(world: World) -> None:
    assert world.server is not None
    submit(world, plan("S", "S", waits=True))
    settle(world)
    client = world.clients["a"]
    client.reconnect(0, False)
    world.stale.clear()
    connection, client.connection = client.connection, None
    world.pass_time(2 * LOST_AFTER)
    settle(world)
    assert states(world) == {"a": "LL"}
    client.finish()
    client.connection = connection
    settle(world)
    world.pass_time(40)
    settle(world)
    with world.store.view(JOB) as view:
        assert [late.state for _, late, _ in view.late_results(0)] == ["S"]
    assert states(world) == {"a": "LL"}
    assert client.agent is not None
    assert not client.agent.session.jobs


def test_a_node_with_many_jobs_starves_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "NODE_LIMIT", 6)
    for number in range(12):
        submit(world, plan("S", "S"), f"a{number:015x}", 1000.0)
    for _ in range(40):
        settle(world, 1)
    assert world.server is not None
    assert not world.server.scheduler.runs


@pytest.mark.parametrize(
    "jobs",
    [
        [[JOB, [row(0)], [], []], [JOB, [row(7)], [], []]],
        [[JOB, [row(0)], [], []], [JOB, [row(-1)], [], []]],
        [[JOB, [row(0)], [], [[0, "x", "X", "why"]]]],
        [[JOB, [row(0)], [], [[0, 1, "XX", "why"]]]],
        [[JOB, [row(0)], [["x", 1.0]], []]],
        [[JOB, [row(0, "q")], [], []]],
        [[JOB, [row(0)[:5]], [], []]],
        [[JOB, [[*row(0)[:3], float("inf"), *row(0)[4:]]], [], []]],
        [[JOB, [[*row(0)[:5], float("nan"), *row(0)[6:]]], [], []]],
        [[JOB, [[*row(0)[:2], 1 << 70, *row(0)[3:]]], [], []]],
        [[JOB, [], [[0, float("inf")]], []]],
        [[JOB, [row(0)], []]],
        [7],
    ],
)
def test_results_of_a_strange_shape_change_nothing_at_all(world: World, jobs: list[Any]) -> None:
    assert world.server is not None
    submit(world, plan("S", "S", waits=True))
    settle(world)
    record = world.server.roster.nodes["a"]
    with pytest.raises(ProtocolError):
        world.server.scheduler.take_results(record, jobs, b"", lambda close: None)
    assert bytes(world.server.scheduler.runs[JOB].nodes["a"].states) == b"ss"
    assert not world.server.ledger.pending


def test_a_node_that_knows_less_than_the_server_gives_the_job_up(world: World) -> None:
    """Its journal lost results that the server has: it runs nothing more of the job, so nothing stays open."""
    assert world.server is not None
    submit(world, plan("S", "S", "S", barrier=2, waits=True))
    settle(world)
    world.clients["a"].finish()
    settle(world, 2)
    assert states(world)["a"][0] == "S"
    record = world.server.roster.nodes["a"]
    world.server.scheduler.take_results(record, [[JOB, [row(0, "L")], [], []]], b"", lambda close: None)
    world.server.ledger.flush()
    assert states(world)["a"] == "SLK"
    with world.store.view(JOB) as view:
        assert not list(view.late_results(0))


def test_a_server_that_dies_between_taking_back_and_cancelling_ends_the_task_all_the_same(world: World) -> None:
    submit(world, plan("S"))
    assert world.server is not None
    world.server.ledger.flush()
    world.clients["a"].disconnect(0, True)
    world.crash_server()
    world.store.apply([("job", {"id": JOB, "cancel_at": EPOCH, "cancel_reason": "why"})])
    world.store.apply([("cursors", {"job": JOB, "cursors": {"a": 0}})])
    world.cancels.add(JOB)
    world.start_server()
    settle(world)
    assert states(world) == {"a": "X"}


def test_a_round_trip_is_no_eternity_after_a_restart_of_the_server(world: World) -> None:
    submit(world, plan("S", waits=True))
    settle(world)
    world.crash_server()
    world.start_server()
    settle(world)
    world.pass_time(5.0)
    world.clients["a"].finish()
    settle(world)
    with world.store.view(JOB) as view:
        assert [found.roundtrip_time for _, found, _ in view.results(0)] == [pytest.approx(5.0)]


def test_steps_that_cross_a_hello_are_not_here(world: World) -> None:
    """The server takes back what a hello does not name: what it calls queued surely was not delivered."""
    assert world.server is not None
    probe(world, "a")
    submit(world, plan("S"))
    world.server.ledger.flush()
    world.run()
    connection = world.clients["a"].connection
    assert connection is not None
    world.deliver_down(connection)
    world.run()
    while connection.down:
        world.deliver_down(connection)
    world.run()
    assert not world.ran
    settle(world)
    assert states(world) == {"a": "S"}
    world.check_now()


def test_nodes_that_were_forgotten_meanwhile_keep_nothing_open(world: World) -> None:
    assert world.server is not None
    world.server.roster.remove("b")
    submit(world, plan("S", nodes=("a", "b")))
    settle(world)
    assert states(world) == {"a": "S", "b": "E"}


@pytest.fixture
def meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Scheduler], object]], None]:
    """Node b is away, and something happens while the next job is decided: a large one takes turns with others."""
    assert world.server is not None
    scheduler = world.server.scheduler
    world.clients["b"].crash()
    world.pass_time(60.0)
    settle(world)
    first_slices = Acceptance._first_slices

    def happens(act: Callable[[Scheduler], object]) -> None:
        def deciding(acceptance: Acceptance, run: Any) -> Iterator[Any]:
            yield from first_slices(acceptance, run)
            act(scheduler)

        monkeypatch.setattr(Acceptance, "_first_slices", deciding)

    return happens


def test_what_ends_while_a_large_job_is_being_accepted_is_written_behind_it(
    world: World, meanwhile: Callable[[Callable[[Scheduler], object]], None]
) -> None:
    """A task may expire before the job is in the ledger."""
    meanwhile(lambda scheduler: scheduler.tick(world.clock.now))
    submit(world, plan("S", nodes=("a", "b")), valid_for=0.0)
    settle(world)
    assert states(world) == {"a": "S", "b": "E"}
    assert (world.store.find(JOB) or {})["state"] == "incomplete"


def test_a_cancel_while_a_large_job_is_being_accepted_waits_for_that(
    world: World, meanwhile: Callable[[Callable[[Scheduler], object]], None]
) -> None:
    def cancel(scheduler: Scheduler) -> None:
        gevent.spawn(scheduler.cancel, JOB, "why")
        gevent.sleep(0)

    meanwhile(cancel)
    submit(world, plan("S", "S", nodes=("a", "b"), waits=True))
    settle(world, 12)
    assert (world.store.find(JOB) or {})["state"] == "cancelled"
    assert set("".join(states(world).values())) == {"X"}
