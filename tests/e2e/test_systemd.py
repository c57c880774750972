"""Both units on one machine, set up as the documentation says, with systemd as process 1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, wait_until
from machine import Machine, new_machine
from pages import commands

UNITS = ("director-server", "director-client")
OWNERS = "root 755\nroot 700\ndirector 700\n"

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("containers")]


class Host:
    """A machine with the two units, and what is asked of them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._copies = 0

    def set_up(self) -> None:
        """Do what the page says, word for word."""
        page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
        section = page.partition("## Set-up with systemd\n")[2].partition("\n## ")[0]
        self.machine("\n".join(commands(section)))

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.machine(f"systemctl show --property {name} --value {unit}").strip()

    def director(self, *words: str) -> Any:
        """The JSON answer of a user's command."""
        return json.loads(self.machine(f"director --output json {' '.join(words)}"))

    def wait_online(self) -> None:
        """Return when the units are active and the node is online."""

        def ready() -> bool:
            return self.machine.tries(f"systemctl is-active {' '.join(UNITS)}; director --list-nodes | grep online")

        wait_until(ready, "both units are active, the node is online", every=0.2)

    def check(self) -> None:
        """A copied file arrives, and each folder belongs to its own role."""
        self.wait_online()
        self._copies += 1
        place = f"/srv/copy-{self._copies}"
        job = self.director("--wait", "--exec", f"'COPY docs/examples/site.conf {place}'")
        assert job["tasks"]["success"] == 1, job
        self.machine(f"cmp docs/examples/site.conf {place}")
        folders = "/var/lib/director /var/lib/director/client /var/lib/director/server"
        assert self.machine(f"stat --format '%U %a' {folders}") == OWNERS
        strangers = "find /var/lib/director/server ! -user director; find /var/lib/director/client ! -user root"
        assert self.machine(strangers) == ""

    def wait_restarts(self, unit: str, count: int) -> None:
        """Return when systemd has started the unit again so often, by itself."""
        enough = f'test "$(systemctl show --property NRestarts --value {unit})" -ge {count}'
        wait_until(lambda: self.machine.tries(enough), f"{unit} was started again", 90, every=0.2)


@pytest.fixture(scope="module")
def host(sdist: Path) -> Iterator[Host]:
    with new_machine(sdist) as machine:
        made = Host(machine)
        made.set_up()
        made.check()
        yield made


def test_the_server_is_hardly_exposed(host: Host) -> None:
    shown = host.machine("systemd-analyze security --no-pager --threshold=25 director-server || true")
    assert host.machine.tries("systemd-analyze security --no-pager --threshold=25 director-server"), shown
    print(shown.splitlines()[-1])


def test_the_socket_can_be_given_to_a_group(host: Host) -> None:
    host.machine("groupadd --force operators; usermod --append --groups operators director")
    host.machine("echo DIRECTOR_SOCKET_GROUP=operators > /etc/default/director-server")
    host.machine("systemctl restart director-server")
    host.check()
    assert host.machine("stat --format '%G %a' /run/director/director.sock") == "operators 660\n"
    host.machine("rm /etc/default/director-server; systemctl restart director-server")
    host.check()


def test_a_client_that_gave_up_root(host: Host) -> None:
    def reason(action: str, text: str) -> str:
        answer = host.director(action, "--exec", f"'{text}'", "|| true")
        (step,) = answer["steps"]
        (task,) = step.get("tasks") or step["nodes"]
        return str(task["reason"])

    host.machine("useradd --create-home app; cp /etc/default/director-client /root/settings")
    host.machine("echo DIRECTOR_NO_ROOT=app >> /etc/default/director-client; systemctl restart director-client")
    host.wait_online()
    main = host.show("director-client", "MainPID")
    assert set(host.machine(f"grep -E '^(Uid|Gid)' /proc/{main}/status | cut -f 2-5").split()) == {
        host.machine("id -u app").strip(), host.machine("id -g app").strip()
    }  # fmt: skip
    assert host.machine(f"cat /proc/{main}/cgroup").rstrip().endswith("/tasks"), (
        "it has its cgroup, which systemd gave it"
    )
    steps = ["RUN id -un", "RUN touch run", "COPY docs/examples/site.conf copy", "USER app", "RUN id -un; echo $HOME"]
    script = "\n".join(("WORKDIR /home/app/work", *steps))
    job = host.director("--wait", "--exec", f"'{script}'")
    shown = [step["tasks"][0]["stdout"] for step in job["steps"]]
    assert (shown[1], shown[5]) == ("app\n", "app\n/home/app\n")
    assert host.machine("stat --format %U /home/app/work/*") == "app\napp\n"

    why = "this node runs everything as app (--no-root), so nothing as root"
    for text in ("USER root", "RUN --user root id", "COPY --chown=root docs/examples/site.conf /home/app/mine"):
        assert reason("--wait", text) == why
        assert reason("--plan", text) == f"would fail: {why}"
    assert "Permission denied" in reason("--wait", "COPY docs/examples/site.conf /etc/site.conf")
    pids = "RUN --timeout 2s for i in $(seq 90); do sleep 60 & done; wait"  # ended as a whole, in a cgroup of their own
    assert "not done within 2 s" in reason("--wait", pids)
    assert not host.machine.tries("pgrep --uid app sleep")

    host.machine(f"kill -9 {main}")  # it keeps its key and what it was given
    host.wait_restarts("director-client", 1)
    host.wait_online()
    assert host.director("--wait", "--exec", "'RUN id -un'")["tasks"]["success"] == 1
    host.machine("cp /root/settings /etc/default/director-client; systemctl restart director-client")
    host.check()


def test_restarts(host: Host) -> None:
    for units in (UNITS, UNITS[::-1], UNITS):
        for unit in units:
            host.machine(f"systemctl restart {unit}")
            host.check()


@pytest.mark.parametrize("unit", UNITS)
def test_kills(host: Host, unit: str) -> None:
    before = int(host.show(unit, "NRestarts"))
    host.machine(f"systemctl kill --signal KILL --kill-who main {unit}")
    host.wait_restarts(unit, before + 1)
    host.check()


def test_the_status_line(host: Host) -> None:
    host.check()
    texts = {"director-server": "1 of 1 nodes online", "director-client": "connected to the-server.example.com"}
    for unit, text in texts.items():
        shown = f"systemctl status {unit} | grep -F 'Status: \"{text}'"
        wait_until(lambda shown=shown: host.machine.tries(shown), shown, every=0.5)


@pytest.mark.parametrize("unit", UNITS)
def test_one_that_stands_still_is_started_again(host: Host, unit: str) -> None:
    assert host.show(unit, "WatchdogUSec") != "infinity"
    drop_in = f"/run/systemd/system/{unit}.service.d/watchdog.conf"
    host.machine(f"mkdir -p $(dirname {drop_in}); printf '[Service]\\nWatchdogSec=5s\\n' > {drop_in}")
    host.machine(f"systemctl daemon-reload; systemctl restart {unit}")
    host.wait_online()
    before = int(host.show(unit, "NRestarts"))
    host.machine(f"kill -STOP {host.show(unit, 'MainPID')}")
    host.wait_restarts(unit, before + 1)
    assert "Watchdog timeout" in host.machine(f"journalctl --unit {unit}")
    host.machine(f"rm {drop_in}; systemctl daemon-reload; systemctl restart {unit}")
    host.check()


@pytest.mark.parametrize("owner", ["root", "director"])
def test_a_folder_that_earlier_units_fought_over(host: Host, owner: str) -> None:
    host.machine(f"systemctl stop {' '.join(UNITS)}")
    host.machine(f"chown -R {owner}:{owner} /var/lib/director; chmod 750 /var/lib/director")
    for unit in UNITS:
        host.machine(f"systemctl start {unit}")
    host.check()
