"""What server and client tell the service manager, with a socket in its place."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from harness import Fleet


class Listener:
    """The socket on which a service manager hears one program."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(120)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}

    def wait_for(self, text: str) -> list[str]:
        """The lines of the first message from now on that has this text in it; fails after 30 s without a message."""
        while text not in (message := self._socket.recv(4096).decode()):
            pass
        return message.splitlines()


def test_readiness_signs_of_life_and_status(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    server, client = (Listener(fleet.folder / f"{name}.notify") for name in ("server", "client"))
    fleet.environment.update(server.environment)
    fleet.start_server()
    assert server.wait_for("READY=1") == ["READY=1", "WATCHDOG=1", "STATUS=0 of 0 nodes online, 0 open jobs"]
    fleet.start_client("node", "--identity", "node", env=client.environment)
    assert client.wait_for("READY=1")[1] == "WATCHDOG=1"
    address = f"127.0.0.1:{fleet.port}"
    client.wait_for(f"STATUS=connected to {address} as node, 0 tasks running")
    server.wait_for("STATUS=1 of 1 nodes online, 0 open jobs")

    shown = fleet.run_json("--exec", "RUN env", "--wait")["steps"][0]["tasks"][0]["stdout"]
    assert "NOTIFY" not in shown and "WATCHDOG" not in shown
    job = fleet.submit("--exec", "RUN sleep 1000")
    client.wait_for("1 tasks running")
    server.wait_for("1 open jobs")
    fleet.run_json("--cancel-job", job)
    server.wait_for(", 0 open jobs")

    fleet.stop("server")
    server.wait_for("STOPPING=1")
    assert client.wait_for("STATUS=not connected")[1].startswith(f"STATUS=not connected to {address}: ")
    fleet.stop("node")
    client.wait_for("STOPPING=1")


def test_a_service_manager_that_is_not_there_is_passed_over(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.environment["NOTIFY_SOCKET"] = str(fleet.folder / "nothing")
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(1))
