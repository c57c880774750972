"""Every greenlet is declared vital or not, and the program ends when a vital one dies."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import gevent
import pytest
import syntax
from gevent.event import AsyncResult, Event
from harness import ROOT, Fleet

from director.runtime import greenlets
from director.runtime.greenlets import GreenletPool

STARTERS = {"spawn", "spawn_later", "spawn_raw", "Greenlet", "StreamServer", "periodic", "spawn_pooled"}
OUTSIDE = {"greenlets.py"}  # where greenlets are made


@cache
def starts() -> list[tuple[str, ast.Call]]:
    """The file and the call of everything in director that begins a greenlet."""
    return [
        (str(path.relative_to(ROOT)), node)
        for path, node in syntax.nodes()
        if path.name not in OUTSIDE and isinstance(node, ast.Call) and called(node) in STARTERS
    ]


def called(call: ast.Call) -> str:
    """The last word of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def name_of(call: ast.Call) -> str:
    """The greenlet's name, with NAME for what is filled in."""
    return re.sub(r"\{.*?\}", "NAME", ast.unparse(call.args[0])).removeprefix("f").strip("'\"")


def is_vital(call: ast.Call) -> bool:
    """What the call declares; a periodic one is always vital."""
    given = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg == "vital"}
    return called(call) == "periodic" or given.get("vital", False)


def documented() -> dict[str, str]:
    """The greenlets of the table in docs/architecture.md, each with what happens when it dies."""
    text = Path(ROOT, "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("\n## When a greenlet dies\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (ends|goes on)[^|]* \|", table, re.MULTILINE)
    return {name.strip("` "): end for names, end in rows for name in names.split(", ")}


@syntax.GROUP
def test_no_greenlet_is_started_without_a_declaration() -> None:
    loose = [f"{path}:{call.lineno}" for path, call in starts() if not isinstance(call.func, ast.Name)]
    assert loose == [], "begin it with director.greenlets.spawn"
    undeclared = [
        f"{path}:{call.lineno}"
        for path, call in starts()
        if called(call) == "spawn" and not any(word.arg == "vital" for word in call.keywords)
    ]
    assert undeclared == []


@syntax.GROUP
def test_the_table_in_the_docs_names_every_greenlet() -> None:
    found = {name_of(call): "ends" if is_vital(call) else "goes on" for _, call in starts()}
    assert documented() == found


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> AsyncResult[str]:
    """The reason for which the program was to end."""
    reason: AsyncResult[str] = AsyncResult()
    monkeypatch.setattr(greenlets, "_end_program", reason.set)
    return reason


def fail() -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("after", [None, 0.001])
def test_the_death_of_a_vital_greenlet_ends_the_program(ended: AsyncResult[str], after: float | None) -> None:
    greenlets.spawn("link", fail, vital=True, after=after)
    assert ended.get(timeout=120) == "link died: can't start new thread"


def test_the_death_of_another_greenlet_is_only_logged(
    ended: AsyncResult[str], caplog: pytest.LogCaptureFixture
) -> None:
    greenlets.spawn("caller", fail, vital=False).join(timeout=120)
    greenlets.breathe()
    assert "greenlet caller died" in caplog.text
    assert not ended.ready()


def test_a_vital_greenlet_that_is_killed_on_purpose_ends_nothing(ended: AsyncResult[str]) -> None:
    greenlets.spawn("authenticator", greenlets.gevent.sleep, 3600, vital=True).kill()
    greenlets.breathe()
    assert not ended.ready()


SERVER = (
    "sessions", "authenticator", "enrolment port", "operator's socket", "assigner", "dispatcher", "acknowledgements",
    "queries", "node transfer", "liveness", "last seen", "history", "ledger supervisor", "planner 1 supervisor",
    "ledger writer", "service manager", "connections", "strangers", "audit counts", "contents",
)  # fmt: skip
CLIENT = ("connection", "facts", "step cache", "adopted processes", "blob cache")


def test_every_vital_greenlet_is_tried() -> None:
    tried = {re.sub(r"^(ledger|planner 1) ", "NAME ", name) for name in (*SERVER, *CLIENT)}
    assert tried == {name for name, end in documented().items() if end == "ends"}


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "name"), [("--server", name) for name in SERVER] + [("--client", n) for n in CLIENT])
def test_a_server_or_client_ends_with_its_vital_greenlet(new_fleet: Callable[..., Fleet], mode: str, name: str) -> None:
    fleet = new_fleet()
    server = ["--bind-address", "127.0.0.1", "--socket-path", str(fleet.socket_path), "--port", str(fleet.port)]
    own = server if mode == "--server" else ["--server-address", f"127.0.0.1:{fleet.port}"]
    ports = ["--enroll-port", str(fleet.enroll_port)]
    state = ["--state-dir", str(fleet.folder / "state")]
    words = [sys.executable, str(ROOT / "tests/dying.py"), name, mode, *own, *ports, *state]
    environment = {**fleet.environment, "NOTIFY_SOCKET": str(fleet.folder / "nobody")}  # else nothing is reported
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == f"director: {name} died: it was to die"


def test_a_pool_runs_functions_in_order_and_uses_its_greenlets_again() -> None:
    pool, ran = GreenletPool(), []
    for number in range(100):
        pool.run("number", lambda number=number: ran.append((number, gevent.getcurrent())))
    assert ran == []
    gevent.sleep(0.01)
    assert [number for number, _ in ran] == list(range(100))
    first = {greenlet for _, greenlet in ran}
    pool.run("last", lambda: ran.append((100, gevent.getcurrent())))
    gevent.sleep(0.01)
    assert len(first) == 1 and ran[100][1] in pool._idle and len(pool._idle) <= 2


def test_a_pool_goes_on_while_a_function_blocks_or_after_one_failed(caplog: pytest.LogCaptureFixture) -> None:
    pool, go, ran = GreenletPool(), Event(), []

    def wait() -> None:
        go.wait()
        ran.append("waited")

    def leave() -> None:
        raise gevent.GreenletExit

    for name, function in (("a", wait), ("b", leave), ("c", lambda: 1 / 0), ("d", lambda: ran.append("last"))):
        pool.run(name, function)
    with gevent.Timeout(120):
        while ran != ["last"]:
            gevent.sleep(0.001)
    go.set()
    with gevent.Timeout(120):
        while ran != ["last", "waited"]:
            gevent.sleep(0.001)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["greenlet c died"]
