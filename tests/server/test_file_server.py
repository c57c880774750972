"""Contents are sent only to nodes whose steps need them, as they read, and are read once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from director.protocol import messages
from director.protocol.connections import Frame
from director.protocol.packing import unpack
from director.scheduler.build import new_run
from director.server import file_server as module
from director.server.file_server import FileServer
from director.server.roster import NodeRecord
from director.transfer.blobs import BlobStore
from director.transfer.pieces import PIECE


def until(check: Callable[[], object], what: str) -> None:
    """Let the server run until this is so."""
    with gevent.Timeout(60, AssertionError(what)):
        while not check():
            gevent.sleep(0.001)


REFUSED = "this job does not offer that content"


class Counter:
    """A file server with one job `j` on nodes `a` and `d` that needs one content, and what it sends."""

    def __init__(self, folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blobs = BlobStore(str(folder))
        self.digest, self.size = self.blobs.put_bytes(content)
        chunks = [{"first": 0, "contents": {self.digest: len(content)}}, {"first": 1, "contents": {}}]
        stages = [{"name": "", "nodes": names} for names in (["a", "d"], ["c"])]
        blocks = [{"first": step, "last": step, "stage": step // 2} for step in range(3)]
        run = new_run("j", {"step_count": 3, "stages": stages, "blocks": blocks, "chunks": chunks}, ())
        desk: Any = SimpleNamespace(runs={"j": run})
        self.lent: set[tuple[str, int, str, str]] = set()
        self.sent: list[tuple[str, dict[str, Any], bytes]] = []  # node, fields, bytes
        self.messages: list[Any] = []
        self.records = {name: NodeRecord(name, "k", b"\0" + name.encode()) for name in "abcd"}
        self.acknowledged = dict.fromkeys("abcd", 1)
        connections = {id(record): name for name, record in self.records.items()}
        for record in self.records.values():
            record.connection = (id(record), 0)
        monkeypatch.setattr(module, "bytes_of", lambda c, direction: self.acknowledged[connections[c[0]]])
        self.reads: list[str] = []
        read = module._read
        monkeypatch.setattr(module, "_read", lambda *args: self.reads.append(args[0]) or read(*args))
        self.server = FileServer(self.blobs, desk, lambda run, *asked: (run.id, *asked) in self.lent, self)  # type: ignore[arg-type]

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...] = ()) -> bool:
        _, fields, payload = messages.decode([header, *frames], "server")
        self.sent.append((record.name, fields, payload[0] if payload else b""))
        return True

    def send_shared(self, record: NodeRecord, message: Frame) -> bool:
        header, data = unpack(message.buffer)
        self.messages.append(message)
        return self.send(record, header, (data,))

    def ask(self, node: str = "a", *ranges: Any, **fields: Any) -> None:
        asked = {"job": "j", "step": 0, "set": 0, "anew": False, "ranges": list(ranges), **fields}
        self.server.get(self.records[node], asked, b"")

    def get(self, node: str = "a", *ranges: Any, **fields: Any) -> tuple[str, bytes]:
        """The error and the bytes of all messages that follow."""
        self.sent.clear()
        self.ask(node, *(ranges or ([self.digest, 0, self.size],)), **fields)
        gevent.sleep(0.02)
        assert len({row[1]["error"] for row in self.sent}) == 1
        return self.sent[0][1]["error"], b"".join(data for _, _, data in self.sent)

    def bytes_to(self, node: str) -> int:
        return sum(len(data) for name, _, data in self.sent if name == node)


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    yield Counter(tmp_path, bytes(range(250)), monkeypatch)


def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int = 40) -> Counter:
    return Counter(tmp_path, bytes(pieces * PIECE), monkeypatch)


def test_a_node_of_the_job_gets_the_ranges_that_it_requests(counter: Counter) -> None:
    assert counter.get("a", [counter.digest, 100, 100]) == ("", bytes(range(100, 200)))
    assert counter.get("a", [counter.digest, 200, 50], [counter.digest, 0, 2]) == ("", bytes([*range(200, 250), 0, 1]))


@pytest.mark.parametrize(
    "fields",
    [
        {"node": "b"},
        {"job": "k"},
        {"step": 1},
        {"step": 2},
        {"step": 3},
        {"step": -1},
        {"node": "c", "step": 2},
        {"node": "c", "step": 0},
        {"ranges": [["0" * 64, 0, 1]]},
        {"ranges": [["../x", 0, 1]]},
        {"ranges": ["x"]},
    ],
)
def test_anything_else_is_refused(counter: Counter, fields: dict[str, Any]) -> None:
    assert counter.get(**fields) == (REFUSED, b"")


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 0), (0, -5), (0.5, 1), (0, "1"), (1 << 60, 1)])
def test_no_range_at_all_is_refused(counter: Counter, offset: Any, length: Any) -> None:
    assert counter.get("a", [counter.digest, 0, 1], [counter.digest, offset, length]) == (REFUSED, b"")


def test_a_blob_that_was_lent_to_the_job_is_sent_too(counter: Counter) -> None:
    digest, _ = counter.blobs.put_bytes(b"lent")
    assert counter.get("a", [digest, 0, 4])[0]
    counter.lent.add(("j", 1, "a", digest))
    assert counter.get("a", [digest, 0, 4], step=1) == ("", b"lent")
    assert counter.get("a", [digest, 0, 4])[0], "for another step of the node"


def test_a_blob_that_cannot_be_read_is_answered_with_an_error(counter: Counter) -> None:
    assert "another size" in counter.get("a", [counter.digest, 200, 51])[0]
    Path(counter.blobs.path(counter.digest)).unlink()
    error, data = counter.get()
    assert "cannot read it" in error and data == b""


def test_a_node_has_as_much_under_way_as_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER", 8 * PIECE)
    counter = large(tmp_path, monkeypatch)
    counter.ask("a", [counter.digest, 0, counter.size])
    until(lambda: counter.bytes_to("a") >= 4 * PIECE, "half of the room is taken")
    gevent.sleep(0.1)
    assert counter.bytes_to("a") <= 5 * PIECE
    counter.ask("d", [counter.digest, 0, counter.size])
    until(lambda: counter.bytes_to("d") >= 2 * PIECE, "another node gets some")
    gevent.sleep(0.1)
    assert counter.bytes_to("d") <= 4 * PIECE
    counter.acknowledged["d"] = 1 << 40
    until(lambda: counter.bytes_to("d") == counter.size, "who reads gets all")
    assert counter.bytes_to("a") <= 5 * PIECE
    counter.acknowledged["a"] = 1 << 40
    until(lambda: counter.bytes_to("a") == counter.size, "and so does the first")
    until(lambda: not counter.server._lanes and not counter.server._messages, "nothing is kept")


def test_what_two_nodes_request_is_read_once_and_shares_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = large(tmp_path, monkeypatch)
    for node in "ad":
        counter.ask(node, [counter.digest, 0, counter.size])
    until(lambda: len(counter.sent) == 80, "both have all")
    assert len(counter.reads) == 40 and len({id(message) for message in counter.messages}) == 40


def test_a_request_anew_takes_the_place_of_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = large(tmp_path, monkeypatch)
    counter.ask("a", [counter.digest, 0, counter.size])
    counter.ask("a", [counter.digest, PIECE, PIECE], anew=True)
    until(lambda: counter.sent, "it is answered")
    gevent.sleep(0.05)
    assert [fields["ranges"] for _, fields, _ in counter.sent] == [[[counter.digest, PIECE, PIECE]]]


def test_requests_that_wait_are_bounded_and_go_with_their_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 0)
    counter = large(tmp_path, monkeypatch)
    for _ in range(module.WAITING + 10):
        counter.ask("a", [counter.digest, 0, counter.size])
    assert sum(map(len, counter.server._lanes["a"].steps.values())) == module.WAITING
    counter.records["a"].peer = b"\0another"
    until(lambda: not counter.server._lanes, "the connection is another one")
    assert len(counter.sent) <= 3
