"""The library as a program uses it: its page's examples under threads and under gevent, types, errors, imports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT, SECRET, Fleet

import director

PAGE = (ROOT / "docs/library.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
turns = []
def tick():
    while True:
        turns.append(1)
        gevent.sleep(0.01)
gevent.spawn(tick)
"""
PATCHED = "\nassert len(turns) > 3, 'the loop stood still'\n"


@pytest.fixture(scope="module")
def web() -> Iterator[Fleet]:
    """A server and the two clients of the page's examples."""
    with Fleet() as fleet:
        fleet.start_server()
        fleet.wait_online(fleet.start_clients(2, prefix="web-"))
        yield fleet


def run(fleet: Fleet, program: str) -> str:
    """Run a Python program; its output."""
    env = {**fleet.environment, "DIRECTOR_SOCKET_PATH": str(fleet.socket_path), "TMPDIR": str(fleet.temporary)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_page_run(web: Fleet, number: int) -> None:
    assert run(web, EXAMPLES[number]) or "assert" in EXAMPLES[number]


def test_examples_of_the_page_run_under_gevent(web: Fleet) -> None:
    out = run(web, GEVENT + "\n".join(EXAMPLES) + PATCHED)
    assert "success True" in out and "no such node:" in out and "web-2 failed 1" in out


def test_it_is_cooperative_while_it_waits(web: Fleet) -> None:
    program = """
import director
d = director.connect()
started = len(turns)
waits = [gevent.spawn(d.exec("RUN sleep 1", target="web-1").wait) for _ in range(3)]
gevent.joinall(waits, raise_error=True)
assert all(wait.value.ok for wait in waits)
assert len(turns) - started > 30, len(turns) - started
"""
    run(web, GEVENT + program)


def test_many_threads_use_one_director(web: Fleet) -> None:
    done: list[bool] = []
    with director.connect(str(web.socket_path)) as d:
        threads = [threading.Thread(target=lambda: done.append(d.exec("RUN true").wait(60).ok)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert done == [True] * 6


def test_files_with_sources_secrets_and_events(web: Fleet, tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("hello\n")
    (tmp_path / "x.director").write_text(f"FROM web-*\nCOPY motd {web.folder}/placed/\nRUN sleep 0.3\n")
    with director.connect(str(web.socket_path)) as d:
        job = d.orchestrate(tmp_path / "x.director", name="place", valid_for=0)
        events = list(job.follow(timeout=60))
        assert events[-1].final and events[-1].state == "success" and not events[0].final
        result = job.result()
        assert (result.name, result.ok, len(result.tasks), result.counts["total"]) == ("place", True, 4, 4)
        assert {task.verb for task in result.tasks} == {"COPY", "RUN"} and not result.failed
        text = "RUN --mount=type=secret,id=word,env=WORD echo length ${#WORD}"
        assert d.exec(text, target="web-1", secrets={"word": SECRET}).wait().tasks[0].stdout == "length 23\n"
        assert [node.id for node in d.nodes(state="online")] == ["web-1", "web-2"]
        assert d.node("web-1").facts["cpu"]["count"] and d.nodes("web-1")[0].online
    assert (web.folder / "placed/motd").read_text() == "hello\n"


def test_cancel_and_time_limits(web: Fleet) -> None:
    with director.connect(str(web.socket_path)) as d:
        job = d.exec("RUN sleep 1000")
        with pytest.raises(director.errors.WaitTimeoutError):
            job.wait(timeout=0.2)
        assert job.cancel() is True
        assert job.wait(60).state == "cancelled" and not job.cancel()


def test_output_as_it_comes_and_afterwards(web: Fleet) -> None:
    with director.connect(str(web.socket_path)) as d:
        job = d.exec("RUN echo begun; sleep 0.5; echo ended >&2")
        live = list(job.output(node="web-2", timeout=60))
        assert "".join(part.text for part in live if part.stream == "stdout") == "begun\n"
        assert (live[-1].node, live[-1].state) == ("web-2", "success")
        again = list(d.job(job.id).output())
        assert {part.node for part in again} == {"web-1", "web-2"}
        assert "".join(part.text for part in again if part.stream == "stderr") == "ended\nended\n"


def test_it_waits_for_a_server_that_comes_back(web: Fleet) -> None:
    with director.connect(str(web.socket_path)) as d:
        job = d.exec("RUN sleep 2", target="web-1")
        events = job.follow(timeout=100)
        next(events)
        web.kill("server")
        web.spawn("server", web.commands["server"])
        assert list(events)[-1].state == "success"


def test_errors_are_one_tree(web: Fleet, tmp_path: Path) -> None:
    with pytest.raises(director.errors.NoServerError):
        director.connect(str(tmp_path / "none"))
    with director.connect(str(web.socket_path)) as d:
        for error, call in (
            (director.errors.NoTargetError, lambda: d.exec("RUN true", expect_nodes=5)),
            (director.errors.UsageError, lambda: d.exec("RUNN true")),
            (director.errors.UsageError, lambda: d.exec("RUN true", colour="red")),
            (director.errors.UsageError, lambda: d.orchestrate(tmp_path / "none")),
            (director.errors.NotFoundError, lambda: d.job("ffffffffffffffff")),
            (director.errors.NotFoundError, lambda: d.node("nobody")),
        ):
            with pytest.raises(error) as caught:
                call()  # type: ignore[no-untyped-call]
            assert isinstance(caught.value, director.errors.DirectorError)


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = "import sys, director; print({'gevent', 'zmq', 'configargparse', 'asyncio'} & set(sys.modules))"
    used = "import sys, director.library.client; print({'gevent', 'zmq', 'configargparse'} & set(sys.modules))"
    for program in (code, used):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout == "set()\n"


@pytest.mark.slow
def test_mypy_accepts_a_strictly_typed_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "\n".join(EXAMPLES) + "\nreveal_type(director.connect().exec('x', target='a').wait().tasks[0].ok)\n"
    )
    bad = tmp_path / "bad.py"
    bad.write_text("import director\ndirector.connect().exec('x', timeout='soon')\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
    env = {**os.environ, "MYPYPATH": ""}
    done = subprocess.run([*command, str(program)], capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    assert done.returncode == 0, done.stdout
    assert 'Revealed type is "' in done.stdout and "bool" in done.stdout
    done = subprocess.run([*command, str(bad)], capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    assert done.returncode == 1 and "timeout" in done.stdout
