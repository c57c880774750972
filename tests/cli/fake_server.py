"""A scripted server in a thread, at a real UNIX socket with real frames."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from director.protocol.framing import Channel, close_all

Handler = Callable[[dict[str, Any], Channel], None]


class FakeServer:
    """Answers requests by `handlers[do](header, channel)`; keeps every request it got.

    Use it in a `with`; `stop()` and `start()` are a server's death and return.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.handlers: dict[str, Handler] = {}
        self.requests: list[dict[str, Any]] = []
        self.connections: list[socket.socket] = []
        self.failures: list[BaseException] = []
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Listen at the path."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(16)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """End every connection, too; the file stays, as after SIGKILL."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def __enter__(self) -> FakeServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        channel = Channel(connection)
        with contextlib.suppress(OSError):
            while (frame := channel.receive()) is not None:
                header, _, fds = frame
                close_all(fds)
                self.requests.append(header)
                try:
                    self.handlers[header["do"]](header, channel)
                except OSError:
                    raise
                except BaseException as error:
                    self.failures.append(error)
                    raise
        channel.close()


def send(channel: Channel, value: Any, more: bool = False) -> None:
    """Send one item of an answer."""
    channel.send({"ok": True, "more": more, "cut": False}, json.dumps(value).encode())


def body(value: Any) -> Handler:
    """A handler that answers with one item."""
    return lambda header, channel: send(channel, value)


def end(header: dict[str, Any], channel: Channel) -> None:
    """A handler that ends an answer of several items, or gives one without any."""
    channel.send({"ok": True, "more": False, "cut": False})


COUNTS = (
    *("queued", "sent", "running", "success", "cached", "failed"),
    *("timeout", "cancelled", "expired", "lost", "skipped"),
)


def job(id: str = "a" * 16, state: str = "success", **counts: int) -> dict[str, Any]:
    """A row of --list-jobs."""
    counts = counts or {"success": 1}
    tasks = {"total": sum(counts.values()), **dict.fromkeys(COUNTS, 0), **counts}
    return {
        "id": id, "name": "RUN uptime", "kind": "exec", "state": state,
        "final": state not in ("queued", "running"), "step_count": 1, "node_count": 1, "tasks": tasks,
        "created_at": "2026-01-31T12:00:00.000Z", "started_at": "2026-01-31T12:00:00.010Z",
        "finished_at": "2026-01-31T12:00:01.010Z", "duration": 1.0, "submitted_by": "root",
    }  # fmt: skip


def info(
    id: str = "a" * 16, state: str = "success", task: str = "success", stdout: str = "up\n", **more: Any
) -> dict[str, Any]:
    """An object of --job-info with one step on one node."""
    result = {
        "node": "web-01", "state": task, "exit_code": 0 if task == "success" else 1, "stdout": stdout, "stderr": "",
        "truncated": 0, "reason": None if task == "success" else "exit code 1",
        "started_at": "2026-01-31T12:00:00.010Z", "finished_at": "2026-01-31T12:00:01.010Z",
        "execution_time": 1.0, "roundtrip_time": 1.01, "attempt": 1, "late": None, **more,
    }  # fmt: skip
    step = {"index": 0, "verb": "RUN", "text": "RUN uptime", "stage": 0, "tasks": [result]}
    return {**job(id, state, **{task: 1}), "steps": [step]}
