"""A job of more files than are named one by one: delivered after everything was restarted, compared, and foreseen."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from harness import Fleet

from director.transfer.blob_lists import NAMED


@pytest.mark.slow
def test_many_files_outlive_the_server(fleet: Fleet) -> None:
    """The job is accepted while the node is away; another server process delivers it."""
    fleet.wait_online(fleet.start_clients(1))
    fleet.stop("node-1")
    fleet.wait_state(["node-1"], "offline")
    source, there = fleet.folder / "many", fleet.folder / "there"
    source.mkdir()
    for number in range(NAMED + 100):
        (source / f"{number}").write_text(f"content {number}")
    text = f"COPY {source} {there}"
    job = fleet.submit("--exec", text, "--target", "node-1")
    with contextlib.closing(sqlite3.connect(fleet.folder / "server/server/ledger.sqlite")) as ledger:
        (length,) = ledger.execute("SELECT max(length(meta)) FROM plans").fetchone()
    assert length < 10_000, "the plan does not hold the list of the files"
    fleet.kill("server")
    fleet.restart("server")
    fleet.restart("node-1")
    assert fleet.wait_job(job, timeout=300)["state"] == "success"
    assert {path.name: path.read_text() for path in there.iterdir()} == {
        path.name: path.read_text() for path in source.iterdir()
    }
    (row,) = fleet.run_json("--plan", "--exec", text)["steps"][0]["nodes"]
    assert row["action"] == "cached"
    (there / "7").write_text("another")
    (source / "8").write_text("changed")
    assert fleet.run_json("--exec", text, "--wait", timeout=300)["steps"][0]["tasks"][0]["stderr"].count("\n") == 2
    assert (there / "7").read_text() == "content 7" and (there / "8").read_text() == "changed"
