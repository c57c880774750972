"""The rules that turn what was measured into verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from director import __version__
from director.doctor import machine, server
from director.doctor.findings import Finding, is_well, rated, size

HEALTH: dict[str, Any] = {
    "version": __version__, "pid": 1, "uptime": 5.0, "bind_address": "127.0.0.1", "port": 1, "enroll_port": 1,
    "socket": "/s", "folder": "/nowhere", "lag": {"lately": 0.01, "ever": 0.2}, "jobs": 0, "tasks": 0,
    "ledger": {"stuck": "", "lost": "", "writes": 0, "bytes": 0}, "descriptors": {"open": 50, "limit": 1024},
    "nodes": {"online": 19, "offline": 1}, "pending": 0, "versions": {__version__: 19}, "halted": [], "slowest": [],
}  # fmt: skip


def verdicts(**changed: Any) -> dict[str, Finding]:
    """The findings about a server with this health by their check."""
    return {finding.check: finding for finding in server.findings({**HEALTH, **changed})}


def test_a_healthy_server_needs_no_remedy():
    found = verdicts()
    assert found.pop("--port").verdict == found.pop("--enroll-port").verdict == "failed"  # nothing listens at port 1
    assert {(finding.verdict, finding.remedy) for finding in found.values()} == {("ok", "")}


@pytest.mark.parametrize(
    ("check", "changed", "verdict", "said"),
    [
        ("version", {"version": "0.0.1"}, "warning", "restart the server"),
        ("loop lag", {"lag": {"lately": 0.3, "ever": 0.3}}, "warning", "--profile"),
        ("loop lag", {"lag": {"lately": 3.0, "ever": 3.0}}, "failed", "--profile"),
        ("ledger", {"ledger": {**HEALTH["ledger"], "stuck": "the disk is full"}}, "failed", "make room"),
        ("ledger", {"ledger": {**HEALTH["ledger"], "lost": "records are gone"}}, "warning", "backups"),
        ("ledger queue", {"ledger": {**HEALTH["ledger"], "bytes": 9 << 20}}, "warning", "slow"),
        ("descriptors", {"descriptors": {"open": 1000, "limit": 1024}}, "failed", "LimitNOFILE"),
        ("nodes", {"nodes": {"online": 8, "offline": 2}}, "warning", "--state offline"),
        ("nodes", {"nodes": {}}, "warning", "start a client"),
        ("waiting keys", {"pending": 2}, "warning", "--state pending"),
        ("nodes that stand still", {"halted": [{"id": "web-1", "why": "full disk"}]}, "warning", "REASON"),
        ("versions of nodes", {"versions": {"0.0.9": 3}}, "warning", "install"),
        ("slowest nodes", {"slowest": [{"id": "web-1", "lag": 2.5}]}, "warning", "clients are late"),
    ],
)
def test_what_is_not_well_has_a_remedy(check: str, changed: dict[str, Any], verdict: str, said: str):
    finding = verdicts(**changed)[check]
    assert finding.verdict == verdict
    assert said in finding.remedy


def test_only_failures_change_the_exit_code():
    assert is_well([rated("x", "y", 5, 4, 9, "", "do")])
    assert not is_well([rated("x", "y", 9, 4, 9, "", "do")])


def test_sizes_have_units():
    assert [size(count) for count in (5, 2048, 3 << 20, 5 << 30, 3 << 40)] == [
        "5 B", "2 KiB", "3 MiB", "5.0 GiB", "3.0 TiB",
    ]  # fmt: skip


def test_files_that_others_may_read_are_a_failure(tmp_path: Path):
    key = tmp_path / "curve.key"
    assert machine.secret_file("client", "key", str(key)).verdict == "failed"
    key.touch(0o600)
    assert machine.secret_file("client", "key", str(key)).verdict == "ok"
    key.chmod(0o640)
    assert "chmod 600" in machine.secret_file("client", "key", str(key)).remedy
    tmp_path.chmod(0o755)
    assert next(machine.folder("client", str(tmp_path))).verdict == "failed"


def test_who_holds_a_state_folder(tmp_path: Path):
    from director.runtime import locks

    assert machine.holder(str(tmp_path)) == ""
    with locks.held(str(tmp_path), "client"):
        assert machine.holder(str(tmp_path)).startswith("pid ")
    assert machine.holder(str(tmp_path)) == ""
