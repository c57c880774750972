"""The client's journal: what is written is what is read again, however the client ended."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from director.agent.journal import Journal, SpoolFullError
from director.errors import StoreError

JOB = "0123456789abcdef"
BIG = b"\x00\xff" * 40_000
ROW = ["S", 0, "", 0, 1700000000.25, 0.01, {"env": {"A": "ü\n"}}]


def view(journal: Journal) -> dict[str, Any]:
    """Everything a journal knows of its jobs, contents read."""
    return {
        name: {
            "head": job.head,
            "slices": [(one.first, one.last, one.body.read()) for one in job.slices],
            "started": job.started,
            "results": {step: (kept.row, kept.number, kept.outputs()) for step, kept in job.results.items()},
            "done": job.done,
            "notes": job.notes,
        }
        for name, job in journal.jobs.items()
    }


@contextmanager
def opened(folder: Path | str, **sizes: int) -> Iterator[Journal]:
    journal = Journal.open(str(folder), **sizes)
    try:
        yield journal
    finally:
        journal.close()


def reopened(folder: Path | str) -> dict[str, Any]:
    with opened(folder) as journal:
        return view(journal)


names = st.sampled_from(["a", "b", "ü c"])
steps = st.integers(0, 5)
rows = st.lists(st.one_of(st.text(max_size=5), st.integers(-5, 2**53), st.booleans(), st.none()), max_size=4)
facts = st.dictionaries(st.text(max_size=5), st.one_of(rows, st.text(max_size=5)), max_size=2)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("slice"), names, facts, steps, steps, st.binary(max_size=40)),
        st.tuples(st.just("started"), names, steps, st.integers(1, 3)),
        st.tuples(st.just("result"), names, steps, rows, st.one_of(st.binary(max_size=40), st.just(BIG))),
        st.tuples(st.just("stored"), st.integers(0, 12)),
        st.tuples(st.just("note"), names, facts),
        st.tuples(st.just("closed"), names),
        st.tuples(st.just("rewrite")),
    ),
    max_size=25,
)


class Model:
    """The same facts in plain dictionaries."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.number = 0

    def job(self, name: str) -> dict[str, Any]:
        empty = {"head": {}, "slices": [], "started": {}, "results": {}, "done": {}, "notes": {}}
        return self.jobs.setdefault(name, empty)

    def slice(self, name: str, head: dict[str, Any], first: int, last: int, chunk: bytes) -> None:
        job = self.job(name)
        job["head"] = {**job["head"], **head}
        job["slices"] = [one for one in job["slices"] if one[:2] != (first, last)] + [(first, last, chunk)]

    def started(self, name: str, step: int, attempt: int) -> None:
        self.job(name)["started"][step] = attempt
        self.job(name)["done"].pop(step, None)

    def result(self, name: str, step: int, row: list[Any], outputs: bytes) -> None:
        self.number += 1
        self.job(name)["results"][step] = (row, self.number, outputs)
        self.job(name)["done"][step] = row

    def stored(self, number: int) -> None:
        for job in self.jobs.values():
            job["results"] = {step: kept for step, kept in job["results"].items() if kept[1] > number}

    def note(self, name: str, more: dict[str, Any]) -> None:
        self.job(name)["notes"].update(more)

    def closed(self, name: str) -> None:
        self.jobs.pop(name, None)

    def rewrite(self) -> None:
        pass


def play(target: Any, operation: tuple[Any, ...]) -> None:
    getattr(target, operation[0])(*operation[1:])


@given(operations)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(sequence: list[tuple[Any, ...]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        with opened(folder, rewrite_from=300) as journal:
            for operation in sequence:
                play(journal, operation)
                play(model, operation)
            assert view(journal) == model.jobs
            position = journal.position
        with opened(folder) as journal:
            assert view(journal) == model.jobs
            assert journal.position == position
            assert journal.notes == []
            files = {kept.path for job in journal.jobs.values() for kept in job.results.values() if kept.path}
            assert {f"{folder}/spool/{name}" for name in os.listdir(f"{folder}/spool")} == files
            assert journal.live <= journal._log.size


small = operations.map(lambda ops: [op for op in ops if op[0] != "rewrite" and BIG not in op])


@given(small, st.data())
@settings(max_examples=60, deadline=None)
def test_a_journal_cut_at_any_byte_is_one_of_an_earlier_time(sequence: list[Any], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/journal"
        with opened(folder) as journal:
            past = [(0, {}), (os.path.getsize(path), view(journal))]
            for operation in sequence:
                play(journal, operation)
                past.append((os.path.getsize(path), _frozen(view(journal))))
        cut = data.draw(st.integers(0, past[-1][0]))
        os.truncate(path, cut)
        with opened(folder) as journal:
            size, expected = [one for one in past if one[0] <= cut][-1]
            assert view(journal) == expected
            if size:  # before that there is only what the journal writes by itself
                assert len(journal.notes) == (cut != size)
            journal.note("later", {"on": 1})
        assert reopened(folder)["later"]["notes"] == {"on": 1}


def _frozen(seen: dict[str, Any]) -> dict[str, Any]:
    """The state of now: the journal goes on changing its own dictionaries."""
    return {name: {key: value.copy() for key, value in job.items()} for name, job in seen.items()}


@given(st.integers(0, 2**32), st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_a_damaged_byte_is_noticed(place: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with opened(folder) as journal:
            past = []
            for step in range(5):
                past.append(_frozen(view(journal)))
                journal.result(JOB, step, ROW, b"out")
            past.append(_frozen(view(journal)))
        with open(f"{folder}/journal", "r+b") as file:
            content = bytearray(file.read())
            content[19 + place % (len(content) - 19)] = value
            file.seek(0)
            file.write(content)
        assert reopened(folder) in past


WRITER = """
import sys
from director.agent.journal import Journal
journal = Journal.open(sys.argv[1])
for step in range(10**6):
    journal.started("a", step, 1)
    journal.result("a", step, ["S", step], b"out %d" % step)
    print(step, flush=True)
"""


def child(script: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, **options)


def test_a_killed_writer_loses_nothing_it_had_printed(tmp_path: Path) -> None:
    with child(WRITER, str(tmp_path)) as writer:
        assert writer.stdout
        for _ in range(300):
            writer.stdout.readline()
        writer.kill()
        last = 299 + len(writer.stdout.read().split(b"\n")[:-1])
    assert writer.returncode == -signal.SIGKILL
    with opened(tmp_path) as journal:
        job = journal.jobs["a"]
        assert len(job.done) in (last + 1, last + 2)
        assert job.results[last].outputs() == b"out %d" % last
        assert set(job.in_flight) <= {len(job.done)}


def test_what_is_in_flight() -> None:
    with tempfile.TemporaryDirectory() as folder, opened(folder) as journal:
        for step in range(3):
            journal.started(JOB, step, 1)
        journal.result(JOB, 0, ROW)
        journal.result(JOB, 1, ROW)
        journal.stored(2)
        journal.started(JOB, 1, 2)
        job = journal.jobs[JOB]
        assert job.in_flight == {1: 2, 2: 1}
        assert job.results == {}
        assert job.done == {0: ROW}


def test_rewriting_keeps_the_meaning_and_the_size_small(tmp_path: Path) -> None:
    with opened(tmp_path, rewrite_from=20_000) as journal:
        journal.slice("kept", {"name": "x"}, 0, 9, b"steps")
        journal.note("kept", {"k": 1})
        journal.started("kept", 0, 2)
        journal.result("kept", 0, ROW, b"inline")
        journal.result("kept", 1, ROW, BIG)
        for number in range(300):
            journal.slice(f"job{number}", {}, 0, 0, b"x" * 300)
            journal.result(f"job{number}", 0, ROW, b"y" * 100)
            journal.closed(f"job{number}")
        assert os.path.getsize(tmp_path / "journal") < 25_000
        expected, position = view(journal), journal.position
        assert list(expected) == ["kept"]
        assert expected["kept"]["results"][1][2] == BIG
    with opened(tmp_path) as journal:
        assert (view(journal), journal.position) == (expected, position)
        assert journal.result("kept", 2, ROW) == 303
    assert not (tmp_path / "journal.new").exists()


def test_a_rewrite_that_died_is_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.note(JOB, {"a": 1})
    (tmp_path / "journal.new").write_bytes(b"half")
    with opened(tmp_path) as journal:
        journal.rewrite()
        assert view(journal)[JOB]["notes"] == {"a": 1}
    assert reopened(tmp_path)[JOB]["notes"] == {"a": 1}


def test_large_outputs_have_files_of_their_own(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        first, second = journal.result(JOB, 1, ROW, BIG), journal.result(JOB, 2, ROW, BIG)
        assert second == first + 1
        assert os.path.getsize(tmp_path / "journal") < 2000
        journal.stored(first)
        assert os.listdir(tmp_path / "spool") == [str(second)]
        journal.closed(JOB)
        assert os.listdir(tmp_path / "spool") == []


def test_outputs_that_did_not_survive(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        gone, torn = journal.result(JOB, 1, ROW, BIG), journal.result(JOB, 2, ROW, BIG)
    (tmp_path / "spool" / str(gone)).unlink()
    (tmp_path / "spool" / str(torn)).write_bytes(BIG[:-2] + b"??")
    (tmp_path / "spool" / "99").write_bytes(b"of nobody")
    with opened(tmp_path) as journal:
        assert len(journal.notes) == 2
        assert [kept.outputs() for kept in journal.jobs[JOB].results.values()] == [b"", b""]
        assert journal.jobs[JOB].done == {1: ROW, 2: ROW}
        assert os.listdir(tmp_path / "spool") == []
        journal.stored(torn)
    assert reopened(tmp_path)[JOB]["results"] == {}


def test_a_full_spool_takes_results_but_no_slices(tmp_path: Path) -> None:
    with opened(tmp_path, limit=100_000) as journal:
        journal.slice(JOB, {}, 0, 9, b"steps")
        journal.result(JOB, 0, ROW, BIG)
        number = journal.result(JOB, 1, ROW, BIG)
        with pytest.raises(SpoolFullError):
            journal.slice(JOB, {}, 10, 19, b"steps")
        journal.result(JOB, 2, ROW, b"more")
        journal.stored(number)
        journal.slice(JOB, {}, 10, 19, b"steps")
        assert [one.first for one in journal.jobs[JOB].slices] == [0, 10]


def test_boot_and_instance(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        instance, now = journal.instance, journal.boot
        assert len(instance) == 32 and not journal.rebooted and re.fullmatch("[0-9a-f-]{36}", now)
    with opened(tmp_path) as journal:
        assert journal.instance == instance and journal.boot == now and not journal.rebooted
        journal._append(["b", "another"])
        journal.rewrite()
    with opened(tmp_path) as journal:
        assert journal.boot == now and journal.rebooted
    with opened(tmp_path / "other") as journal:
        assert journal.instance != instance


def test_another_version_is_not_touched(tmp_path: Path) -> None:
    content = b"director journal 9\nsomething"
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(StoreError, match="another version"):
        Journal.open(str(tmp_path))
    assert (tmp_path / "journal").read_bytes() == content


FILLER = """
import signal, sys
from director.errors import StoreError
from director.agent.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal.open(sys.argv[1])
for step in range(10**6):
    try:
        journal.result("a", step, ["S"], b"x" * 700)
    except StoreError as error:
        print(step, journal.position, len(journal.jobs["a"].done), error)
        break
try:
    journal.result("a", step, ["S"], b"x" * 70000)
except StoreError as error:
    print("full")
"""


def mounted(path: Path) -> bool:
    """Whether a file system of 64 KiB could be mounted there."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    return subprocess.run(command, check=False).returncode == 0


def check_full(folder: Path, **options: Any) -> None:
    with child(FILLER, str(folder), **options) as filler:
        assert filler.stdout
        first, full = filler.stdout.read().decode().splitlines()
    step, position, done, *words = first.split()
    assert int(step) == int(done) > 50 and "cannot write" in " ".join(words) and full == "full"
    assert filler.returncode == 0
    assert os.listdir(folder / "spool") == []
    with open(folder / "journal", "rb") as file:
        size = len(file.read())
    with opened(folder) as journal:
        assert journal.notes == [] and journal.position == int(position) and journal._log.size == size
        assert len(journal.jobs["a"].done) == int(step)


def test_a_full_disk(tmp_path: Path) -> None:
    """A small file system where one can be mounted, and a limit on the file's size everywhere."""
    (tmp_path / "disk").mkdir()
    if mounted(tmp_path / "disk"):
        try:
            check_full(tmp_path / "disk")
        finally:
            subprocess.run(["umount", str(tmp_path / "disk")], check=True)
    limit = (60_000, resource.RLIM_INFINITY)
    check_full(tmp_path / "limit", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))


def test_a_copy_of_the_folder_has_another_name(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as journal:
        name = journal.instance
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with opened(tmp_path / "b") as journal:
        copied = journal.instance
        assert copied != name and journal.former == name
    with opened(tmp_path / "b") as journal:
        assert journal.instance == journal.former == copied
    with opened(tmp_path / "a") as journal:
        assert journal.instance == journal.former == name
