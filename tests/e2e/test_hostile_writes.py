"""Attacks on what a root client writes: a source node that lies about its files, and a local user who swaps them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, Fleet, tasks_of, wait_until

NOBODY = 65534
SPOIL = "* * * * * root id\n"
Row = tuple[str, str, int, str, str, str]  # kind, path, mode, target, name, content


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A server, the client `web`, and `liar`, whose files are what a JSON file says."""
    fleet = Fleet()
    try:
        fleet.programs["liar"] = [str(ROOT / "tests/hostile_source.py")]
        fleet.start_server()
        for name in ("web", "liar"):
            fleet.start_client(name)
        fleet.wait_online(["web", "liar"])
        yield fleet
        if request.session.testsfailed:
            print(fleet.tails())
    finally:
        fleet.close()


@pytest.fixture
def folder(pair: Fleet, request: pytest.FixtureRequest) -> Path:
    """An own folder of the test, with the folder `cron.d`, into which no task may write."""
    found = pair.folder / f"{request.node.name.partition('[')[0]}-{os.urandom(3).hex()}"
    (found / "cron.d").mkdir(parents=True)
    return found


@pytest.fixture
def borrow(pair: Fleet, folder: Path) -> Callable[..., dict[str, Any]]:
    """Let `web` copy these rows of `liar`; the task."""

    def go(*rows: Row, dest: str = "", flags: str = "") -> dict[str, Any]:
        lies = folder / f"rows-{os.urandom(3).hex()}"
        lies.write_text(json.dumps(rows))
        text = f"COPY {flags} --from=liar {lies} {dest or folder / 'dest'}/"
        return only_task(pair, "--target", "web", "--exec", text)

    return go


def only_task(fleet: Fleet, *args: str) -> dict[str, Any]:
    """Submit, wait, and give the only task."""
    job = fleet.wait_job(fleet.submit(*args))
    (task,) = tasks_of(job)
    return task


def assert_refused(task: dict[str, Any], *says: str) -> None:
    """The task has failed with one line that says these."""
    assert task["state"] == "failed", task
    assert "\n" not in task["reason"] and all(text in task["reason"] for text in says), task["reason"]


# -- a source node that lies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["top", "inside"])
def test_a_source_cannot_send_a_link_and_write_through_it(
    borrow: Callable[..., dict[str, Any]], folder: Path, place: str
) -> None:
    """Rows `link "" → l`, `dir l`, `file l/cron`: once root on the borrower."""
    link: Row = ("link", "", 0o777, str(folder / "cron.d"), "l", "")
    if place == "inside":
        link = ("link", "l", 0o777, str(folder / "cron.d"), "", "")
    task = borrow(link, ("dir", "l", 0o755, "", "", ""), ("file", "l/cron", 0o644, "", "cron", SPOIL))
    assert os.listdir(folder / "cron.d") == []
    assert_refused(task, "l")
    assert not os.path.lexists(folder / "dest/l"), "nothing is written"


def test_a_source_cannot_plant_a_link_for_the_next_run(borrow: Callable[..., dict[str, Any]], folder: Path) -> None:
    planted = borrow(("link", "", 0o777, str(folder / "cron.d"), "l", ""))
    borrow(("file", "l/cron", 0o644, "", "cron", SPOIL))
    assert os.listdir(folder / "cron.d") == []
    assert_refused(planted, "link", "--exclude")


def test_a_source_cannot_plant_a_link_for_the_operators_next_copy(
    pair: Fleet, borrow: Callable[..., dict[str, Any]], folder: Path
) -> None:
    borrow(("link", "l", 0o777, "../cron.d", "l", ""))
    (folder / "tree/l").mkdir(parents=True)
    (folder / "tree/l/key").write_text("secret")
    only_task(pair, "--target", "web", "--exec", f"COPY {folder}/tree {folder}/dest")
    assert os.listdir(folder / "cron.d") == []


def test_a_source_cannot_write_through_a_link_that_lies_there(
    borrow: Callable[..., dict[str, Any]], folder: Path
) -> None:
    """Not even through root's own, which a list of the operator's machine may pass."""
    (folder / "dest").mkdir()
    (folder / "dest/l").symlink_to(folder / "cron.d")
    assert_refused(borrow(("file", "l/cron", 0o644, "", "cron", SPOIL)), f"{folder}/dest/l", "link")
    assert os.listdir(folder / "cron.d") == []


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("file", "a", 0o644, "", "a", "1"), ("file", "a", 0o644, "", "a", "2")], "two sources give 'a'"),
        ([("file", "", 0o644, "", "a", "1"), ("file", "a/b", 0o644, "", "b", "2")], "no folder"),
        ([("file", "", 0o644, "", "a", "1"), ("dir", "a", 0o755, "", "", "")], "two sources give 'a'"),
        ([("file", "ok", 0o644, "", "ok", "1"), ("file", "../a", 0o644, "", "a", "2")], "leaves its folder"),
        ([("file", "ok", 0o644, "", "ok", "1"), ("file", "a/b\0", 0o644, "", "a", "2")], "leaves its folder"),
        ([("file", "ok", 0o644, "", "ok", "1"), ("fifo", "a", 0o644, "", "a", "")], "wrong shape"),
    ],
)
def test_a_list_that_breaks_a_rule_writes_nothing(
    borrow: Callable[..., dict[str, Any]], folder: Path, rows: list[Row], says: str
) -> None:
    assert_refused(borrow(*rows), says)
    assert not (folder / "dest").exists()


def test_a_source_cannot_send_a_setuid_file_and_the_operator_can_ask_for_one(
    borrow: Callable[..., dict[str, Any]], folder: Path
) -> None:
    row = ("file", "", 0o6755, "", "tool", "#!/bin/sh\n")
    assert borrow(row)["state"] == "success"
    assert (folder / "dest/tool").stat().st_mode & 0o7777 == 0o755
    assert borrow(row, flags="--chmod=u+s")["state"] == "success"
    assert (folder / "dest/tool").stat().st_mode & 0o7777 == 0o4755


# -- a local user who swaps files -------------------------------------------------------------------------------

ROUNDS = 300
SWAP = f"""
import os, random, sys, time
folder, target, turn, what = *sys.argv[1:3], 0, sys.argv[3]
os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
os.chdir(folder)

def swap_file():
    with open("plain", "w") as file:
        file.write("port=80\\n")
    os.chmod("plain", 0o600)
    os.symlink(target, "trap")
    os.rename("plain", "f")
    pause = time.perf_counter() + random.random() / 2000
    while time.perf_counter() < pause:
        pass
    os.rename("trap", "f")

def swap_folder():
    os.unlink("d") if os.path.islink("d") else os.rename("d", f"old{{turn}}")
    os.symlink(target, "d") if turn % 2 else os.mkdir("d")

os.mkdir("d")
end = time.monotonic() + 240
while time.monotonic() < end:
    turn += 1
    try:
        swap_file() if what == "file" else swap_folder()
    except OSError:
        pass
    if turn == 20:
        open("started", "w").close()
"""


@contextmanager
def swapping(*args: str) -> Iterator[None]:
    """Somebody else swaps `f` or `d` in a folder for a link to a target until the end, for at most four minutes."""
    racer = subprocess.Popen([sys.executable, "-c", SWAP, *args], cwd="/")
    try:
        wait_until(lambda: os.path.exists(f"{args[0]}/started"), "files are swapped")
        yield
    finally:
        racer.send_signal(signal.SIGKILL)
        racer.wait()


def race(fleet: Fleet, home: Path, target: Path, what: str, steps: str) -> set[str]:
    """Run these steps on `web` for 300 rounds while nobody swaps `f` or `d` in its home; the states of the steps."""
    for above in (home.parent, fleet.folder):
        above.chmod(0o755)
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    file = home.parent / "race.director"
    file.write_text("FROM web\n" + steps * ROUNDS)
    with swapping(str(home), str(target), what):
        job = fleet.wait_job(fleet.submit("--orchestrate", str(file)), timeout=200)
    tasks = list(tasks_of(job))
    assert len(tasks) >= ROUNDS
    return {task["state"] for task in tasks}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_user_who_swaps_a_file_for_a_link_changes_nothing_of_others(pair: Fleet, folder: Path) -> None:
    """The content of `f` is right, so that COPY only sets its mode: once that of what a link in its place names."""
    secret, source = folder / "secret", folder / "f"
    secret.write_text("port=80\n")
    secret.chmod(0o600)
    source.write_text("port=80\n")
    steps = f"COPY --ignore-errors --chmod=0644 --chown={NOBODY} {source} {folder}/home/f\n"
    assert "success" in race(pair, folder / "home", secret, "file", steps)
    status = secret.stat()
    assert (status.st_mode & 0o777, status.st_uid, secret.read_text()) == (0o600, 0, "port=80\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_user_who_swaps_a_folder_for_a_link_redirects_nothing(pair: Fleet, folder: Path) -> None:
    attic, tree = folder / "attic", folder / "tree/d"
    attic.mkdir(mode=0o700)
    tree.mkdir(parents=True)
    (tree / "cron").write_text(SPOIL)
    steps = (
        f"COPY --ignore-errors --chmod=0644 --chown={NOBODY} {folder}/tree {folder}/home\n"
        f"WORKDIR --ignore-errors --chmod=0777 --chown={NOBODY} {folder}/home/d/deep\nWORKDIR /\n"
    )
    assert "success" in race(pair, folder / "home", attic, "folder", steps)
    assert (attic.stat().st_mode & 0o777, attic.stat().st_uid, os.listdir(attic)) == (0o700, 0, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_users_linked_folder_redirects_nothing(pair: Fleet, folder: Path) -> None:
    """Links of root are passed, as /lib and /var/run are."""
    for above in (folder, pair.folder):
        above.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    (home / "app").symlink_to(folder / "cron.d")
    os.chown(home, NOBODY, NOBODY)
    os.chown(home / "app", NOBODY, NOBODY, follow_symlinks=False)
    (folder / "real").mkdir()
    (folder / "run").symlink_to("real")
    (folder / "f").write_text("x")
    for text in (f"COPY {folder}/f {home}/app/f", f"WORKDIR {home}/app/new", f"COPY <<f {home}/app/\nx\nf"):
        assert_refused(only_task(pair, "--target", "web", "--exec", text), f"{home}/app", "link")
    assert os.listdir(folder / "cron.d") == []
    assert only_task(pair, "--target", "web", "--exec", f"COPY {folder}/f {folder}/run/f")["state"] == "success"
    assert (folder / "real/f").read_text() == "x"
