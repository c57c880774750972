"""Orders and exports: cancel, purge, files that appear when they are complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cli.conftest import Run
from cli.fake_server import FakeServer, body, end, info, send

A, B = "a" * 16, "b" * 16


def test_cancel(server: FakeServer, run: Run):
    rows = [{"id": A, "was_final": False}, {"id": B, "was_final": True}]
    server.handlers["cancel"] = body({"jobs": rows})
    done = run("--cancel-job", A, B)
    assert server.requests == [{"do": "cancel", "ids": [A, B]}]
    assert done.returncode == 0
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]] == [
        [A, "ordered"],
        [B, "was final already"],
    ]
    assert json.loads(run("--cancel-job", A, "--output", "json").stdout) == rows


def test_purge(server: FakeServer, run: Run):
    server.handlers["purge-jobs"], server.handlers["purge-nodes"] = body({"count": 3}), body({"count": 1})
    assert run("--purge-jobs", "--node", "web-*").stdout == "forgot 3 jobs\n"
    assert run("--purge-nodes", "--node", "web-*").stdout == "forgot 1 node\n"
    assert json.loads(run("--purge-jobs", A, "--output", "json").stdout) == [{"count": 3}]
    assert [(request["do"], request["node"]) for request in server.requests] == [
        ("purge-jobs", "web-*"), ("purge-nodes", "web-*"), ("purge-jobs", None),
    ]  # fmt: skip
    assert server.requests[2]["ids"] == [A]


JOBS = [info(A), info(B, stdout="- x: {y}\n# é\x1b")]


@pytest.fixture
def exporting(server: FakeServer) -> FakeServer:
    def handler(header, channel):
        for row in JOBS:
            send(channel, [row], more=True)
        end(header, channel)

    server.handlers["export-jobs"] = server.handlers["export-nodes"] = handler
    return server


def test_exports_by_the_files_ending(exporting: FakeServer, run: Run, tmp_path: Path):
    assert run("--export-jobs", "x.json").returncode == 0
    assert run("--export-nodes", "x.yml").returncode == 0
    assert json.loads((tmp_path / "x.json").read_text()) == JOBS
    assert yaml.safe_load((tmp_path / "x.yml").read_text()) == JOBS
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("x.*")} == {0o600}
    assert json.loads(run("--export-jobs", "-").stdout) == JOBS
    assert yaml.safe_load(run("--export-jobs", "-", "--output", "yaml").stdout) == JOBS
    assert [request["do"] for request in exporting.requests[:2]] == ["export-jobs", "export-nodes"]


def test_nothing_to_export(server: FakeServer, run: Run, tmp_path: Path):
    server.handlers["export-jobs"] = end
    assert run("--export-jobs", "x.yaml").returncode == 0
    assert yaml.safe_load((tmp_path / "x.yaml").read_text()) == []


def test_a_broken_export_leaves_the_file_as_it_was(server: FakeServer, run: Run, tmp_path: Path):
    def handler(header, channel):
        send(channel, [{"id": 1}], more=True)
        channel.close()

    server.handlers["export-jobs"] = handler
    (tmp_path / "x.json").write_text("precious")
    done = run("--export-jobs", "x.json")
    assert (done.returncode, (tmp_path / "x.json").read_text()) == (3, "precious")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "x.json"]
    done = run("--export-jobs", "none/x.json")
    assert (done.returncode, "none/x.json: cannot be written" in done.stderr) == (2, True)
    done = run("--export-jobs", "x.txt")
    assert (done.returncode, "ends in .json, .yaml or .yml" in done.stderr) == (2, True)
