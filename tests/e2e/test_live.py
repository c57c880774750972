"""What happens, as it happens, from a real server and real nodes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness import Fleet

from director.protocol.framing import Channel

pytestmark = pytest.mark.slow


class Reader:
    """One request on an operator's socket, whose answer never ends."""

    def __init__(self, fleet: Fleet, do: str, **fields: Any) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(str(fleet.socket_path))
        self._channel = Channel(self.sock)
        self._channel.send({"do": do, **fields})

    def next(self) -> Any:
        """The next item."""
        text = b""
        while True:
            frame = self._channel.receive()
            assert frame is not None, "the server ended the connection"
            header, body, _ = frame
            assert "error" not in header, header
            if "alive" in header:
                continue
            text += body
            if not header["cut"]:
                return json.loads(text)


@contextmanager
def reading(fleet: Fleet, do: str, **fields: Any) -> Iterator[Reader]:
    reader = Reader(fleet, do, **fields)
    with reader.sock:
        yield reader


def events_until(reader: Reader, check: Any) -> list[Any]:
    """The events up to the first that `check` is true for."""
    found: list[Any] = []
    while not any(map(check, found)):
        found += reader.next()["events"]
    return found


def test_events_from_a_number_on_and_over_a_restart_of_the_server(trio: Fleet) -> None:
    with reading(trio, "events") as reader:
        first = reader.next()
        job = trio.submit("--exec", "RUN true")
        found = events_until(reader, lambda event: event.get("final") and event["job"] == job)
    mine = [event for event in found if event.get("job") == job]
    assert [event["state"] for event in mine if event["kind"] == "job"] == ["queued", "running", "success"]
    changes = [event for event in mine if event["kind"] == "tasks"]
    assert {node for event in changes for node in event["nodes"]} == {"node-1", "node-2", "node-3"}
    assert changes[-1]["tasks"]["success"] == 3
    numbers = [event["number"] for event in found]
    assert numbers == list(range(first["next"], first["next"] + len(found)))
    with reading(trio, "events", epoch=first["epoch"], number=first["next"]) as again:
        assert again.next()["events"][: len(found)] == found, "the same again from the same number"
    trio.kill("node-2")
    with reading(trio, "events", epoch=first["epoch"], number=numbers[-1] + 1) as reader:
        gone = events_until(reader, lambda event: event.get("node") == "node-2")[-1]
    assert (gone["kind"], gone["state"], gone["new"]) == ("node", "offline", False)
    trio.kill("server")
    trio.restart("server")
    trio.wait_server()
    with reading(trio, "events", epoch=first["epoch"], number=numbers[-1] + 1) as reader:
        answer = reader.next()
        assert answer["reset"] and answer["epoch"] != first["epoch"] and answer["missed"] == 0
    trio.restart("node-2")
    trio.wait_online(["node-1", "node-2", "node-3"])
