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
