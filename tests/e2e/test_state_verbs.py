"""SERVICE and PACKAGE in a file that is run again: they look at the node each time; actions trust the chain.

There is no systemd and no package source here: small programs that keep their state in files stand in for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from harness import Fleet

Run = Callable[..., str]

SYSTEMCTL = """#!/bin/sh
# UNIT.active and UNIT.file hold what `show` prints; what changes anything is noted in `calls`
cd {folder} || exit 1
shift
case $1 in
show)
    load=loaded file=$(cat "$4.file" 2>/dev/null || echo disabled)
    [ "$file" = masked ] && load=masked
    printf 'LoadState=%s\\nActiveState=%s\\nUnitFileState=%s\\n' \\
        $load "$(cat "$4.active" 2>/dev/null || echo inactive)" "$file"
    exit ;;
start | restart | reload) echo active >"$2.active" ;;
stop) echo inactive >"$2.active" ;;
enable) echo enabled >"$2.file" ;;
disable | unmask) echo disabled >"$2.file" ;;
mask) echo masked >"$2.file" ;;
esac
echo "$*" >>calls
"""
DPKG_QUERY = """#!/bin/sh
# NAME.deb holds the version of a package that is installed
cd {folder} || exit 1
shift 3
for name; do [ -e "$name.deb" ] && echo "installed $name $(cat "$name.deb")"; done
[ $# = 0 ]
"""
APT_GET = """#!/bin/sh
# `newest` holds the version that the package source has
cd {folder} || exit 1
[ "$1" = update ] || echo "$1" >>calls  # whether it updates first depends on how old the lists here are
case $1 in
install) shift 4; for name; do cp newest "$name.deb"; done ;;
remove) shift 4; for name; do rm "$name.deb"; done ;;
esac
"""


class Host:
    """A node `host` with its stand-ins; their state is in `folder`."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.folder = fleet.folder / "host-state"
        self.folder.mkdir()
        (self.folder / "newest").write_text("1.0\n")
        programs = fleet.folder / "programs"
        programs.mkdir()
        for name, text in (("systemctl", SYSTEMCTL), ("dpkg-query", DPKG_QUERY), ("apt-get", APT_GET)):
            (programs / name).write_text(text.format(folder=self.folder))
            (programs / name).chmod(0o755)
        fleet.start_client("host", "--identity", "host", env={"PATH": f"{programs}:{os.environ['PATH']}"})
        fleet.wait_online(["host"])

    def set(self, name: str, text: str) -> None:
        """Change something by hand."""
        (self.folder / name).write_text(text + "\n")

    def calls(self) -> list[str]:
        """What was asked for since the last call, but for what only looks."""
        path = self.folder / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return found


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A server with one node."""
    with Fleet() as fleet:
        fleet.start_server()
        yield Host(fleet)


@pytest.fixture
def run(host: Host, request: pytest.FixtureRequest) -> Run:
    """Plan a file, which changes nothing, then run it; a letter for each step: `s` success, `c` cached, `f` failed."""
    path = host.fleet.folder / f"{request.node.originalname}.director"

    def go(text: str, *more: str, unknown: str = "") -> str:
        path.write_text(text)
        host.calls()
        plan = host.fleet.run_json("--plan", str(path), *more)
        assert host.calls() == [], "a plan only looks"
        job = host.fleet.run_json("--orchestrate", str(path), "--wait", *more)
        states = "".join(step["tasks"][0]["state"][0] for step in job["steps"])
        foreseen = "".join(step["nodes"][0]["action"][0] for step in plan["steps"])
        assert foreseen == (unknown or states.replace("s", "r")), plan["steps"]
        return states

    return go


def test_a_service_is_looked_at_each_time(host: Host, run: Run) -> None:
    text = "PACKAGE tree\nSERVICE x.service\nRUN echo behind\n"
    assert run(text) == "sss"
    assert run(text) == "ccc"
    host.set("x.service.active", "failed")
    assert run(text) == "css", "what stands behind a state that was changed runs"
    assert host.calls() == ["start x.service"]
    (host.folder / "tree.deb").unlink()
    assert run(text) == "scs"
    assert host.calls() == ["install"]
    assert run(text) == "ccc" and host.calls() == []


@pytest.mark.parametrize(
    ("flags", "file", "by_hand", "call"),
    [
        ("--stopped", "y.active", "active", "stop y"),
        ("--enable", "y.file", "disabled", "enable y"),
        ("--disable", "y.file", "enabled", "disable y"),
        ("--mask", "y.file", "disabled", "mask y"),
        ("--unmask", "y.file", "masked", "unmask y"),
    ],
)
def test_what_was_changed_by_hand_is_put_right(
    host: Host, run: Run, flags: str, file: str, by_hand: str, call: str
) -> None:
    host.set("y.file", "disabled")
    host.set("y.active", "inactive")
    run(f"SERVICE {flags} y\n")
    assert run(f"SERVICE {flags} y\n") == "c"
    host.set(file, by_hand)
    assert run(f"SERVICE {flags} y\n") == "s"
    assert host.calls() == [call]


@pytest.mark.parametrize("action", ["restarted", "reloaded"])
def test_an_action_follows_a_change_and_nothing_else(host: Host, run: Run, action: str) -> None:
    source, there = host.fleet.folder / "conf", host.fleet.folder / "there"
    source.write_text(action)
    host.set("z.file", "disabled")
    call = {"restarted": "restart z", "reloaded": "reload z"}[action]
    text = f"COPY {source} {there}\nSERVICE --{action} --daemon-reload --enable z\nRUN echo behind\n"
    assert run(text)[1] == "s" and host.calls() == ["daemon-reload", "enable z", call]
    assert run(text) == "ccc" and host.calls() == []
    host.set("z.active", "inactive")
    assert run(text) == "ccc" and host.calls() == [], "an action is not done again because of what the node is like"
    host.set("z.file", "disabled")
    assert run(text) == "css" and host.calls() == ["enable z"], "but its states are looked at"
    source.write_text(f"{action} anew")
    assert run(text) == "sss" and host.calls() == ["daemon-reload", call]
    there.unlink()
    assert run(text) == "sss" and host.calls() == ["daemon-reload", call]
    assert run(text.replace("SERVICE", "SERVICE --skip-cache")) == "csc" and host.calls() == ["daemon-reload", call]
    assert run(text, "--no-cache")[1] == "s" and host.calls() == ["daemon-reload", call]


def test_the_latest_is_asked_for_each_time(host: Host, run: Run) -> None:
    text = "PACKAGE --latest curl\nRUN echo behind\n"
    assert run(text) == "ss"
    assert run(text, unknown="uu") == "cc"
    assert host.calls() == ["install"], "the source was asked"
    host.set("newest", "1.1")
    assert run(text, unknown="uu") == "ss"
    absent = "PACKAGE --absent curl\nRUN echo behind\n"
    assert run(absent) == "ss" and host.calls() == ["remove"]
    assert run(absent) == "cc" and host.calls() == []
    host.set("curl.deb", "1.0")
    assert run(absent) == "ss"


def test_a_plan_says_what_would_be_done(host: Host) -> None:
    host.set("w.active", "inactive")

    def reason(text: str) -> tuple[str, str]:
        (row,) = host.fleet.run_json("--plan", "--exec", text)["steps"][0]["nodes"]
        return row["action"], row["reason"]

    assert reason("SERVICE --daemon-reload w") == ("run", "systemctl daemon-reload, start w")
    assert reason("SERVICE --stopped w") == ("cached", "already so")
    assert reason("PACKAGE jq") == ("run", "install jq")
    assert reason("PACKAGE --absent jq") == ("cached", "not installed")
    host.set("jq.deb", "1.0")
    action, why = reason("PACKAGE --latest jq")
    assert action == "unknown" and "only the run can tell" in why
