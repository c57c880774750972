"""What happens, as it happens, from a real server and real nodes."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import SECRET, Fleet, wait_until

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
    assert ("order", "submit") in [(event["kind"], event.get("order")) for event in found]
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


def test_two_viewers_from_the_start_on_and_over_a_restart_of_the_server(trio: Fleet) -> None:
    marker = trio.folder / "go"
    hold = f"while [ ! -e {marker} ]; do sleep 0.05; done"
    text = f"RUN echo begin; printf 'gr\\303\\274'; {hold}; printf '\\303\\237e\\n'; echo bad >&2; seq 3"
    shown = ["begin", "gr\u00fc\u00dfe", "1", "2", "3"]
    job = trio.submit("--exec", text)
    first = trio.begin("--follow", job)
    assert first.stdout is not None and first.stderr is not None
    begun = first.stdout.readline()
    with reading(trio, "follow", id=job, node="node-1") as reader:
        pieces: list[Any] = []
        while not pieces:
            pieces += reader.next()
    assert {piece["node"] for piece in pieces} == {"node-1"}
    assert base64.b64decode(pieces[0]["data"]) == "begin\ngr\u00fc".encode() and pieces[0]["offset"] == 0
    trio.kill("server")
    trio.restart("server")
    trio.wait_server()
    second = trio.begin("--follow", job, "--output", "jsonl")
    marker.touch()
    out, err = first.stdout.read(), first.stderr.read()
    assert first.wait(timeout=120) == 0, err
    lines = (begun + out).splitlines()
    for node in ("node-1", "node-2", "node-3"):
        mine = [line for line in lines if line.startswith(node)]
        assert [line for line in mine if line[6] == ":"] == [f"{node}: {word}" for word in shown]
        assert [line for line in mine if line[6] == "!"] == [f"{node}! bad"]
    assert lines[-1].startswith(f"job {job} success: 3/3 done")
    assert "waiting for it to come back" in err and "the server is back" in err
    out, _ = second.communicate(timeout=120)
    rows = [json.loads(line) for line in out.splitlines()]
    text_of = "".join(row["text"] for row in rows if row.get("stream") == "stdout" and row["node"] == "node-2")
    assert text_of == "begin\ngr\u00fc\u00dfe\n1\n2\n3\n"
    assert [row["state"] for row in rows if "state" in row] == ["success"] * 4
    after = trio.director("--follow", job, "--node", "node-3", "--step", "1")
    assert sorted(after.stdout.splitlines()[:-1]) == sorted(line for line in lines if line.startswith("node-3"))


def test_a_submission_streams_failures_retries_and_the_exit_code(trio: Fleet) -> None:
    text = "RUN --retry=2 echo try $DIRECTOR_NODE; sleep 0.3; test $DIRECTOR_NODE != node-2\nRUN echo next"
    done = trio.director("--exec", text, "--stream")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert [line for line in lines if line.startswith("node-2")] == ["node-2[1]: try node-2"] * 2
    assert "== node-2[1]: failed: exit code 1" in lines
    assert "node-1[2]: next" in lines and "node-2[2]: next" not in lines
    assert lines[-1].split()[2] == "failed:"
    assert trio.director("--follow", "0" * 16).returncode == 6
    assert trio.director("--follow", "last", "--node", "nothing").returncode == 5


def test_nothing_is_sent_when_nobody_follows(trio: Fleet) -> None:
    marker = trio.folder / "end"
    job = trio.submit("--target", "node-1", "--exec", f"RUN while [ ! -e {marker} ]; do echo x; sleep 0.02; done")
    wait_until(lambda: trio.job(job)["tasks"]["running"] == 1, "the step runs")
    with reading(trio, "follow", id=job) as reader:
        while not reader.next():
            pass
    assert trio.run_json("--job-info", job)["state"] == "running"
    marker.touch()
    assert trio.wait_job(job)["state"] == "success"


def test_what_is_secret_is_masked_while_it_comes(trio: Fleet, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    begin = SECRET[:7]
    text = (
        f"RUN --mount=type=secret,id=token,env=T for n in 1 2 3; do printf 'it is {begin}'; sleep 0.3; "
        f'echo "${{T#{begin}}}"; sleep 0.2; done'
    )
    done = trio.director("--target", "node-1", "--secret", f"id=token,src={secret}", "--exec", text, "--stream")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:-1] == ["node-1: it is ***"] * 3


def test_why_a_job_is_where_it_is(trio: Fleet) -> None:
    marker = trio.folder / "why"
    hold = f"RUN while [ $DIRECTOR_NODE = node-1 ] && [ ! -e {marker} ]; do sleep 0.05; done"
    text = f"FROM all\n{hold}\nFROM all\nRUN test $DIRECTOR_NODE != node-3"
    job = trio.submit("--exec", text)

    def waits() -> dict[str, Any]:
        return {row["node"]: row for row in trio.run_json("--why", job)["waits"]}

    wait_until(lambda: waits()["node-1"]["why"] == "it runs" and waits()["node-2"]["number"] == 2, "the others wait")
    found = waits()
    assert (found["node-1"]["number"], found["node-1"]["state"]) == (1, "running")
    assert f"--follow {job} --node node-1" in found["node-1"]["moves"] and found["node-1"]["until"]
    assert "step 2 begins when all nodes have ended the steps before it; 1 have not: node-1" in found["node-2"]["why"]
    shown = trio.director("--why", job, "node-2").stdout
    assert "node-2: step 2 is queued" in shown and f"moves  director --why {job} node-1" in shown
    assert ["1", "success"] in [line.split()[:2] for line in shown.splitlines()]
    assert "node-[2-3]: step 2 is queued" in trio.director("--why", job).stdout
    trio.kill("node-2")
    wait_until(lambda: trio.nodes()["node-2"]["state"] == "offline", "node-2 is offline")
    assert waits()["node-2"]["why"] == "the node is offline" and "--valid-for" in waits()["node-2"]["moves"]
    trio.restart("node-2")
    marker.touch()
    trio.wait_job(job)
    assert "node-3: step 2 is failed: exit code 1" in trio.director("--why", job).stdout
    assert trio.director("--why", job, "nobody").returncode == 6
    assert trio.director("--why", job, "a", "b").returncode == 2
    trio.wait_online(["node-1", "node-2", "node-3"])
