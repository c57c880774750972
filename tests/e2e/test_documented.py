"""What the documentation shows is done here: its examples run on a real fleet of three."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, Fleet, free_ports, tasks_of

SHOP = ROOT / "docs/examples/shop"
QUIET = {"QUERY", "HEALTHCHECK"}  # they look each time, and change nothing


@pytest.fixture
def shop(fleet: Fleet) -> tuple[Fleet, Path, dict[str, int]]:
    """Three labelled nodes, a copy of the shop's files to change, and each node's port."""
    names = ["db-1", "web-1", "web-2"]
    for name in names:
        fleet.start_client(name)
    fleet.wait_online(names)
    ports = dict(zip(names, free_ports(3), strict=True))
    for name, port in ports.items():
        tier = "database" if name == "db-1" else "web"
        fleet.run_json("--exec", f"LABEL tier={tier} port={port}", "--target", name, "--wait")
    return fleet, Path(shutil.copytree(SHOP, fleet.folder / "shop")), ports


def run_shop(fleet: Fleet, files: Path) -> dict[str, Any]:
    """The job of one more run, which must be a success."""
    place = f"ROOT={fleet.folder}/srv"
    job: dict[str, Any] = fleet.run_json("--orchestrate", str(files / "shop.director"), "--arg", place, "--wait")
    assert job["state"] == "success", job
    return job


def ran(job: dict[str, Any]) -> list[tuple[str, str]]:
    """Verb and node of every task that did something."""
    verbs = [step["verb"] for step in job["steps"]]
    done = [(verbs[task["step"]], task["node"]) for task in tasks_of(job) if task["state"] != "cached"]
    return [(verb, node) for verb, node in done if verb not in QUIET]


def starts(fleet: Fleet, node: str) -> int:
    """How often the node's server was started."""
    return len((fleet.folder / "srv" / node / "starts").read_text().split())


def test_two_tiers(shop: tuple[Fleet, Path, dict[str, int]]) -> None:
    fleet, files, ports = shop
    first = run_shop(fleet, files)
    assert first["tasks"]["success"] + first["tasks"]["cached"] == first["tasks"]["total"]
    for name in ("web-1", "web-2"):
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[name]}/", timeout=5) as page:
            assert f"The shop at {name}" in page.read().decode()
        settings = (fleet.folder / "srv" / name / "web.conf").read_text()
        cluster = (fleet.folder / "srv/db-1/cluster").read_text().strip()
        hostname = fleet.run_json("--node-info", "db-1")["facts"]["hostname"]
        assert settings == f"database=db-1\nhost={hostname}\ncluster={cluster}\nport={ports[name]}\nfolder=site\n"

    second = run_shop(fleet, files)
    assert ran(second) == []
    assert all(task["reason"] for task in tasks_of(second) if task["state"] == "cached")
    assert [starts(fleet, name) for name in ports] == [1, 1, 1]

    template = files / "web.conf.j2"
    template.write_text(template.read_text() + "\nworkers={{ facts.cpu.count }}\n")
    third = run_shop(fleet, files)
    assert ran(third) == [(verb, name) for verb in ("COPY", "RUN") for name in ("web-1", "web-2")]
    assert [starts(fleet, name) for name in ports] == [1, 2, 2]
    assert ran(run_shop(fleet, files)) == []
