"""A client of the operator's socket, for calls that are frequent or must not include the start of the CLI."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import ujson

from director.protocol.framing import Channel

OPTIONS: dict[str, Any] = {
    "target": [], "timeout": 600.0, "valid_for": 3600.0, "no_cache": True, "args": {}, "extend_args": False,
    "async": False, "name": None,
}  # fmt: skip


class Operator:
    """One connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(300)
        try:
            self._socket.connect(path)
            self._channel = Channel(self._socket)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def ask(self, do: str, **fields: Any) -> list[bytes]:
        """The JSON texts of the answer. Raises RuntimeError: the error of the server."""
        self._channel.send({"do": do, **fields})
        answers, text = [], b""
        while True:
            frame = self._channel.receive()
            if frame is None:
                raise ConnectionError("the server closed the connection")
            header, part, _ = frame
            if "error" in header:
                raise RuntimeError(header["error"])
            if "alive" in header:
                continue
            text += part
            if text and not header["cut"]:
                answers.append(text)
                text = b""
            if not header["more"]:
                return answers

    def submit(self, *texts: str, target: Sequence[str] = (), side_by_side: bool = False) -> list[str]:
        """Submit texts, each one job; returns their ids when they are accepted."""
        ids = [os.urandom(8).hex() for _ in texts]
        files = [
            {"id": id_, "kind": "exec", "name": "exec", "form": "containerfile", "text": text, "folder": "/"}
            for id_, text in zip(ids, texts, strict=True)
        ]
        self.ask("submit", files=files, options={**OPTIONS, "target": list(target), "async": side_by_side})
        return ids

    def wait(self, ids: Sequence[str]) -> None:
        """Return when all are final, every result on disk."""
        self.ask("wait", ids=list(ids))

    def run(self, text: str, target: Sequence[str] = ()) -> float:
        """Seconds from the request to the last result on disk; every task must succeed."""
        began = time.perf_counter()
        ids = self.submit(text, target=target)
        self.wait(ids)
        took = time.perf_counter() - began
        counts = self.counts(ids[0])
        if not counts["total"] or counts["success"] != counts["total"]:
            raise AssertionError(f"not every task was done: {counts}")
        return took

    def job(self, job_id: str) -> dict[str, Any]:
        """Everything known of a job."""
        info: dict[str, Any] = ujson.loads(self.ask("job-info", id=job_id)[0])
        return info

    def counts(self, job_id: str) -> dict[str, int]:
        """How many tasks of a job are in which state."""
        tasks: dict[str, int] = ujson.loads(self.ask("list-jobs", ids=[job_id])[0])[0]["tasks"]
        return tasks

    def online(self) -> int:
        """How many nodes are online."""
        nodes: dict[str, int] = ujson.loads(self.ask("hello")[0])["nodes"]
        return nodes.get("online", 0)
