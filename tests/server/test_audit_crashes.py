"""The audit log when everything is killed at random moments: what is done is written, and the chain stays whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import ROOT, children_of

from director.stores import open_store
from director.workers.audit_keeper import AuditKeeper

SCRIPT = Path(__file__).with_name("ledger_client.py")
KILLS = int(os.environ.get("AUDIT_KILLS", "10"))


def killed(folder: Path) -> list[str]:
    """Let jobs be accepted for a random time, then kill all processes; the jobs that were reported durable."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), "sqlite", "audited"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        time.sleep(random.uniform(0.0, 0.6))  # any moment will do
    finally:
        process.send_signal(signal.SIGSTOP)  # else it would start the ledger process again
        for pid in (*children_of(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
        rest, _ = process.communicate()
    return [name for name in (first + rest).split("\n")[:-1] if name]


@pytest.mark.slow
def test_what_is_done_is_written_whenever_all_is_killed(tmp_path: Path) -> None:
    durable: set[str] = set()
    for _ in range(KILLS):
        durable.update(killed(tmp_path))
        store = open_store("sqlite", str(tmp_path))
        keeper = AuditKeeper(store, str(tmp_path), 20_000, 100_000)
        assert keeper.step()
        found = keeper.check()
        jobs = {job["id"] for job in json.loads(store.list_jobs({}, {}))}
        store.close()
        assert found["faults"] == [] and found["waiting"] == 0
        lines = [
            json.loads(line)
            for path in sorted((tmp_path / "audit").glob("audit-*"))
            for line in path.read_text().splitlines()
        ]
        written = [line["job"] for line in lines if line["event"] == "command"]
        assert len(written) == len(set(written)), "each once"
        assert set(written) == jobs >= durable
    assert len(durable) > KILLS
