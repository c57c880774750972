"""Blobs are sent only to nodes whose steps need them, piece by piece."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from director.protocol import messages
from director.scheduler.build import new_run
from director.server import file_server as module
from director.server.file_server import FileServer
from director.server.roster import NodeRecord
from director.transfer.blobs import BlobStore


class Counter:
    """A file server with one job `j` on node `a` that needs one content."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self.blobs = BlobStore(str(folder))
        self.digest, _ = self.blobs.put_bytes(content)
        chunks = [{"first": 0, "contents": {self.digest: len(content)}}, {"first": 1, "contents": {}}]
        stages = [{"name": "", "nodes": [name]} for name in ("a", "c")]
        blocks = [{"first": step, "last": step, "stage": step // 2} for step in range(3)]
        run = new_run("j", {"step_count": 3, "stages": stages, "blocks": blocks, "chunks": chunks}, ())
        desk: Any = SimpleNamespace(runs={"j": run})
        self.lent: set[tuple[str, int, str, str]] = set()
        self.answers: list[tuple[str, bytes]] = []
        self.server = FileServer(self.blobs, desk, lambda run, *asked: (run.id, *asked) in self.lent, self.send)

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        kind, fields, payload = messages.decode([header, *frames], "server")
        assert (kind, fields["digest"]) == ("blob_piece", self.asked["digest"])
        self.answers.append((fields["error"], payload[0]))
        return True

    def get(self, node: str = "a", **fields: Any) -> tuple[str, bytes]:
        """The error and the piece."""
        self.asked = {"job": "j", "step": 0, "digest": self.digest, "offset": 0, "length": 100, **fields}
        self.server.get(NodeRecord(node, "k"), self.asked, b"")
        return self.answers.pop()


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    return Counter(tmp_path, bytes(range(250)))


def test_a_node_of_the_job_gets_the_piece_it_requests(counter: Counter) -> None:
    assert counter.get(offset=100) == ("", bytes(range(100, 200)))
    assert counter.get(offset=200) == ("", bytes(range(200, 250)))
    assert counter.get(offset=250) == ("", b"")


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
        {"digest": "0" * 64},
        {"digest": "../x"},
        {"offset": -1},
        {"length": 0},
        {"length": -5},
    ],
)
def test_anything_else_is_refused(counter: Counter, fields: dict[str, Any]) -> None:
    error, piece = counter.get(**fields)
    assert error == "this job does not offer that content"
    assert piece == b""


def test_a_blob_that_was_lent_to_the_job_is_sent_too(counter: Counter) -> None:
    digest, _ = counter.blobs.put_bytes(b"lent")
    assert counter.get(digest=digest)[0]
    counter.lent.add(("j", 1, "a", digest))
    assert counter.get(digest=digest, step=1) == ("", b"lent")
    assert counter.get(digest=digest)[0], "for another step of the node"


def test_a_piece_has_a_bound(tmp_path: Path) -> None:
    counter = Counter(tmp_path, bytes(module.PIECE_LIMIT + 10))
    assert len(counter.get(length=1 << 40)[1]) == module.PIECE_LIMIT


def test_a_blob_that_cannot_be_read_is_answered_with_an_error(counter: Counter) -> None:
    Path(counter.blobs.path(counter.digest)).unlink()
    error, piece = counter.get()
    assert "cannot read it" in error
    assert piece == b""
