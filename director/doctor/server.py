"""The findings about a running server, from its answer to the command `health`, and about its files."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from director import __version__
from director.doctor import machine
from director.doctor.findings import FAILED, OK, Finding, rated, unless

PART = "server"
LAG, LONG_LAG = 0.25, 2.0  # seconds of one turn of a loop
LOCAL = {"*": "127.0.0.1", "all": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def absent(error: str, folder: str) -> Finding:
    """No server answers, though one has run here."""
    held = machine.holder(folder)
    remedy = (
        f"{held} has its state folder: see its log, or give its --socket-path" if held
        else "start it: systemctl start director-server, or director --server"
    )  # fmt: skip
    return Finding(PART, "answers", FAILED, error, remedy)


def findings(health: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything about a server that answers.

    Args:
        health: its answer.
    """
    yield Finding(PART, "answers", OK, f"pid {health['pid']}, up {health['uptime']:.0f} s, at {health['socket']}")
    yield _version(health)
    for name, option in (("port", "--port"), ("enroll_port", "--enroll-port")):
        yield _port(health["bind_address"], health[name], option)
    folder = health["folder"]
    if os.access(folder, os.X_OK):  # this user can see it
        yield from machine.folder(PART, folder)
        yield machine.secret_file(PART, "key", os.path.join(folder, "curve.key"))
    yield from _work(health)
    yield from _nodes(health)


def _version(health: Mapping[str, Any]) -> Finding:
    version = health["version"]
    remedy = "restart the server, so that it runs what is installed"
    return unless(version != __version__, PART, "version", f"{version}, this program {__version__}", remedy)


def _port(address: str, port: int, option: str) -> Finding:
    host = LOCAL.get(address, address)
    try:
        with socket.create_connection((host, port), timeout=3.0):
            return Finding(PART, option, OK, f"listens at {host}:{port}")
    except OSError as error:
        remedy = "see the server's log; does a firewall filter the loopback?"
        return Finding(PART, option, FAILED, f"{host}:{port}: {error.strerror or error}", remedy)


def _work(health: Mapping[str, Any]) -> Iterator[Finding]:
    lag, ledger = health["lag"], health["ledger"]
    found = f"{lag['lately'] * 1000:.0f} ms in the last minute, {lag['ever'] * 1000:.0f} ms since the start"
    remedy = "see what else the machine does; profile the server with --profile"
    yield rated(PART, "loop lag", lag["lately"], LAG, LONG_LAG, found, remedy)
    yield Finding(PART, "jobs", OK, f"{health['jobs']} open with {health['tasks']} open tasks")
    found = f"{ledger['writes']} writes wait, {ledger['bytes'] >> 10} KiB"
    remedy = "the disk is slow, see --doctor's load and `iostat -x 1`"
    yield rated(PART, "ledger queue", ledger["bytes"], 8 << 20, 64 << 20, found, remedy)
    trouble = ledger["stuck"] or ledger["lost"]
    remedy = "make room on its disk" if ledger["stuck"] else "compare with your backups; new jobs are safe"
    yield unless(trouble, PART, "ledger", trouble or "is written", remedy, FAILED if ledger["stuck"] else "warning")
    yield machine.open_files(PART, health["descriptors"]["open"], health["descriptors"]["limit"])


def _nodes(health: Mapping[str, Any]) -> Iterator[Finding]:
    nodes = health["nodes"]
    total = sum(nodes.values())
    found = ", ".join(f"{count} {state}" for state, count in sorted(nodes.items())) or "none is enrolled"
    many = nodes.get("offline", 0) * 10 > total
    remedy = (
        "director --list-nodes --state offline" if total else "start a client: director --client --server-address …"
    )
    yield unless(many or not total, PART, "nodes", found, remedy)
    pending, halted = health["pending"], health["halted"]
    yield unless(pending, PART, "waiting keys", f"{pending} wait for a name",
                 "director --list-nodes --state pending says why, and what to do")  # fmt: skip
    yield unless(halted, PART, "nodes that stand still", _names(halted) or "none",
                 "the column REASON of director --list-nodes says why")  # fmt: skip
    others = {version: count for version, count in health["versions"].items() if version != health["version"]}
    found = ", ".join(f"{count} of {version}" for version, count in sorted(others.items()))
    yield unless(others, PART, "versions of nodes", found or "as the server", "install the server's version there")
    slowest = health["slowest"]
    found = ", ".join(f"{row['id']} {row['lag'] * 1000:.0f} ms" for row in slowest)
    worst = max((row["lag"] for row in slowest), default=0.0)
    remedy = "see what these machines are busy with; their clients are late"
    yield rated(PART, "slowest nodes", worst, 1.0, 60.0, found or "none", remedy)


def _names(rows: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"{row['id']} ({row['why']})" for row in rows)
