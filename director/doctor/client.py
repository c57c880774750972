"""The findings about a client: its files, its key and the server's, and whether it can reach the server."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

from director.agent.server_identity import ServerIdentity, given_token
from director.config.commands import in_flags
from director.config.settings import Settings, load
from director.doctor import machine
from director.doctor.findings import FAILED, OK, WARNING, Finding, rated, unless
from director.errors import DirectorError
from director.protocol import messages

PART = "client"
TIMEOUT = 5.0  # seconds for one connection
SKEW, LARGE_SKEW = 2.0, 300.0  # seconds between two clocks


def findings(settings: Settings, folder: str) -> Iterator[Finding]:
    """Everything about the client whose state folder this is."""
    if not os.access(folder, os.R_OK | os.X_OK):
        yield Finding(PART, "state folder", WARNING, f"{folder} cannot be read", "run the doctor as the client's user")
        return
    held = machine.holder(folder)
    remedy = "start it: systemctl start director-client, or director --client"
    yield unless(not held, PART, "runs", held or "no", remedy, FAILED)
    yield from machine.folder(PART, folder)
    yield machine.secret_file(PART, "key", os.path.join(folder, "curve.key"))
    if pid := re.match(r"pid (\d+) on ", held):
        yield from machine.descriptors(PART, int(pid[1]))
        settings = _of_process(int(pid[1])) or settings
    try:
        server = _server(settings, folder)
    except DirectorError as error:
        yield Finding(PART, "server", FAILED, str(error), "correct the setting")
        return
    found = f"{server.key} of {server.shown}" if server.key else "none yet; the first contact will tell it"
    yield Finding(PART, "server's key", OK, found)
    for host, port in server.addresses:
        yield from _reach(host, port, settings.enroll_port, server.key)


def _of_process(pid: int) -> Settings | None:
    """The settings with which a client runs, by its words and variables; None when they cannot be read."""
    try:
        words, variables = (_read(f"/proc/{pid}/{name}") for name in ("cmdline", "environ"))
        at = next(at for at, word in enumerate(words) if os.path.basename(word) in ("director", "__main__.py"))
        return load(in_flags(words[at + 1 :]), dict(item.split("=", 1) for item in variables if "=" in item))
    except (OSError, StopIteration, DirectorError):
        return None


def _read(path: str) -> list[str]:
    with open(path, "rb") as file:
        return os.fsdecode(file.read()).rstrip("\0").split("\0")


def _server(settings: Settings, folder: str) -> ServerIdentity:
    token = given_token(settings.token_file)
    address = settings.server_address
    if settings.sources.get("server-address") == "default" and token is not None:
        address = None
    return ServerIdentity(folder, "", address, settings.port, settings.enroll_port, settings.server_key, token)


def _reach(host: str, port: int, enroll_port: int, key: str | None) -> Iterator[Finding]:
    """Whether the server's ports can be reached, whose they are, and what its clock says."""
    remedy = "is the server running, and its port open in every firewall on the way?"
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT):
            yield Finding(PART, "reaches the server", OK, f"{host}:{port}")
    except OSError as error:
        yield Finding(PART, "reaches the server", FAILED, f"{host}:{port}: {error.strerror or error}", remedy)
        return
    try:
        before = time.time()
        answer = _ask(host, enroll_port)
        after = time.time()
    except (OSError, ValueError) as error:
        verdict = WARNING if key else FAILED
        yield Finding(PART, "enrolment port", verdict, f"{host}:{enroll_port}: {error}",
                      "clients need it at their first contact without a token; --enroll-port")  # fmt: skip
        return
    theirs = answer.get("server_key")
    yield unless(
        key and theirs != key, PART, "enrolment port", f"{host}:{enroll_port} has the key {theirs}",
        "this is another server than the one that the client trusts; see SECURITY.md before you change that", FAILED,
    )  # fmt: skip
    if isinstance(told := answer.get("time"), (int, float)):
        skew = max(told - after, before - told, 0.0)
        found = f"{skew:.1f} s from the server's clock"
        yield rated(PART, "clock", skew, SKEW, LARGE_SKEW, found, "set the clocks by NTP: timedatectl set-ntp true")


def _ask(host: str, port: int) -> dict[str, Any]:
    """The answer of the enrolment port. Raises OSError, ValueError: there is none."""
    with socket.create_connection((host, port), timeout=TIMEOUT) as link, link.makefile("rb") as reader:
        link.sendall(json.dumps({"v": messages.VERSION}).encode() + b"\n")
        answer = json.loads(reader.readline(4096))
    if not isinstance(answer, dict):
        raise ValueError("it uses another protocol")
    return answer
