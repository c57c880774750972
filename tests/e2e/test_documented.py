"""What the documentation shows is done here: its examples run on a real fleet of three."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, Fleet, free_ports, tasks_of

from director.verbs import VERBS

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


@pytest.mark.quick
def test_two_tiers(shop: tuple[Fleet, Path, dict[str, int]]) -> None:
    fleet, files, ports = shop
    first = run_shop(fleet, files)
    assert first["tasks"]["success"] + first["tasks"]["cached"] == first["tasks"]["total"]
    for name in ("web-1", "web-2"):
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[name]}/", timeout=120) as page:
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


# every verb


def stand_ins(folder: Path) -> Path:
    """Programs that say what a healthy system would, in place of systemctl, apt-get and dpkg-query."""
    folder.mkdir()
    said = {
        "systemctl": "printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'",
        "apt-get": "exit 1",
        "dpkg-query": "printf 'installed curl\\n'",
    }
    for name, text in said.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def test_every_verb_in_yaml(fleet: Fleet) -> None:
    programs = stand_ins(fleet.folder / "programs")
    names = ["web-1", "web-2", "db-1"]
    for name in names:
        fleet.start_client(name, "--identity", name, env={"PATH": f"{programs}:{os.environ['PATH']}"})
    fleet.wait_online(names)
    path = ROOT / "docs/examples/every-verb.yaml"
    given = {
        "ROOT": str(fleet.folder / "srv"),
        "OWNER": pwd.getpwuid(os.geteuid()).pw_name,
        "FETCHED": str(fleet.folder / "fetched"),
        "PORT": str(fleet.port),
    }
    words = [word for name, text in given.items() for word in ("--arg", f"{name}={text}")]
    job = fleet.run_json("--orchestrate", str(path), *words, "--wait")
    assert job["state"] == "success", job
    assert {step["verb"] for step in job["steps"]} == VERBS.keys() - {"REBOOT", "FROM"}

    steps = {step["index"]: {task["node"]: task for task in step["tasks"]} for step in job["steps"]}
    by_text = {step["text"]: steps[step["index"]] for step in job["steps"]}
    sums = "16001 4 1.10 a long title"
    echo = next(tasks for text, tasks in by_text.items() if "PORTS | sum" in text)
    assert {task["stdout"] for task in echo.values()} == {sums}
    execed = next(tasks for text, tasks in by_text.items() if "$MODE" in text and "echo" in text)
    assert {task["stdout"] for task in execed.values()} == {f"{sums} $MODE\n"}
    together = next(tasks for text, tasks in by_text.items() if "dictsort" in text)
    assert {task["stdout"] for task in together.values()} == {f"db-1 web-1 web-2: {sums}"}
    page = (fleet.folder / "srv/web-1/index.html").read_text()
    assert (fleet.folder / "fetched/web-1/index.html").read_text() == page and "web-1" in page

    sleeping = [step["tasks"] for step in job["steps"] if "sleep 1" in step["text"]]
    assert len(sleeping) == 3
    for node in names:
        spans = [next((t["started_at"], t["finished_at"]) for t in tasks if t["node"] == node) for tasks in sleeping]
        assert max(start for start, _ in spans) < min(end for _, end in spans), "they overlap"

    again = fleet.run_json("--orchestrate", str(path), *words, "--wait")
    looking = {"WAIT", "HEALTHCHECK", "EXPOSE", "QUERY"}
    others = [(step["text"], {task["state"] for task in step["tasks"]}) for step in again["steps"]
              if step["verb"] not in looking]  # fmt: skip
    assert [row for row in others if row[1] != {"cached"}] == []


# the language page


def test_examples_of_the_language_page(fleet: Fleet) -> None:
    for name in ("web-1", "web-2", "db-1"):
        fleet.start_client(name)
    fleet.wait_online(["web-1", "web-2", "db-1"])
    place = Path(shutil.copytree(ROOT / "docs/examples", fleet.folder / "examples"))
    page = (ROOT / "docs/dsl.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```(director|yaml)\n(.*?)^```", page, re.M | re.S)
    assert len(shown) >= 6
    said = []
    for number, (form, text) in enumerate(shown):
        path = place / f"example-{number}.{form}"
        path.write_text(text)
        for _ in range(2):
            job = fleet.run_json("--orchestrate", str(path), "--arg", f"ROOT={fleet.folder}/srv", "--wait")
            assert job["state"] == "success", (text, job)
        said += [task["stdout"].strip() for task in tasks_of(fleet.job()) if task["node"] == "web-1"]
        assert not [task for task in tasks_of(job) if task["state"] not in ("cached", "success")]
    files = fleet.folder / "srv/web-1"
    assert (files / "app.env").read_text() == f"ROOT={fleet.folder}/srv\n"
    assert (files / "motd").read_text() == "Welcome to web-1.\n"
    plan = fleet.run_json("--plan", str(place / "example-0.director"), "--arg", f"ROOT={fleet.folder}/srv")
    assert {row["action"] for step in plan["steps"] for row in step["nodes"]} == {"cached"}


def test_handlers_and_values_of_the_language_page(fleet: Fleet) -> None:
    for name in ("web-1", "web-2", "db-1"):
        fleet.start_client(name)
    fleet.wait_online(["web-1", "web-2", "db-1"])
    place = Path(shutil.copytree(ROOT / "docs/examples", fleet.folder / "examples"))
    page = (ROOT / "docs/dsl.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```director\n(.*?)^```", page, re.M | re.S)

    def run(text: str) -> list[str]:
        (place / "file.director").write_text(next(block for block in blocks if text in block))
        path = str(place / "file.director")
        job = fleet.run_json("--orchestrate", path, "--arg", f"ROOT={fleet.folder}/srv", "--wait")
        return [task["stdout"].strip() for task in job["steps"][-1]["tasks"] if task["node"] == "web-1"]

    starts = fleet.folder / "srv/web-1/starts"
    for changed, count in (("", 1), ("", 1), ("index.html.j2", 1), ("site.conf", 2), ("", 2)):
        if changed:
            (place / changed).write_text("changed\n")
        run("start the server anew")
        assert len(starts.read_text().split()) == count, changed
    assert run("CACHEFILE values.yaml") == ["web-1 listens on 8081 as www and shop"]
    fleet.run_json("--exec", "CACHEEVICT all", "--wait")
    run("start the server anew")
    assert len(starts.read_text().split()) == 3
    assert all(node["args"] == {} or "ROOT" in node["args"] for node in fleet.run_json("--export-nodes", "-"))


def outputs(fleet: Fleet, text: str) -> list[str]:
    """What each step returned on the one node."""
    job = fleet.run_json("--exec", text, "--wait", "--target", "web-1")
    return [step["tasks"][0]["stdout"].strip() for step in job["steps"]]


def test_what_the_language_page_says_of_values(fleet: Fleet) -> None:
    fleet.start_client("web-1")
    fleet.wait_online(["web-1"])
    page = (ROOT / "docs/dsl.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```director\n(.*?)^```", page, re.M | re.S)
    values = next(text for text in blocks if "KERNEL" in text).replace("ROOT=/srv/app", f"ROOT={fleet.folder}/srv")
    kernel = os.uname().release
    assert outputs(fleet, values)[-2:] == [f"1.10 16001 21 nothing {kernel}", f"1.10 20 {kernel}"]
    shapes = next(text for text in blocks if "FILE%.gz" in text)
    assert outputs(fleet, shapes)[1:] == [
        "archive.tar gz backup.tar.gz ARCHIVE.TAR.GZ $FILE",
        "{{.Names}} is for another program",
        "80 443",
    ]
