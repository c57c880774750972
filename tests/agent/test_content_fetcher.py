"""Contents for steps: given on in order, requested again after a loss; blobs are shared by the tasks that need them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gevent
import pytest

from director.agent import content_fetcher
from director.agent.content_fetcher import Fetcher
from director.errors import VerbError
from director.protocol import messages
from director.transfer.blobs import BlobStore
from director.transfer.pieces import PIECE, Content

DATA = bytes(range(256)) * (PIECE // 64)
DIGEST = hashlib.sha256(DATA).hexdigest()


class Server:
    """What a fetcher requests, and the answers."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[dict[str, Any]] = []
        self.fetcher = Fetcher(BlobStore(str(folder)), self.send)

    def send(self, *frames: bytes) -> None:
        self.requests.append(messages.decode([*frames], "client")[1])

    def answer(self, job: str = "j", step: int = 5, error: str = "") -> None:
        """Send what was requested and not answered yet."""
        requests, self.requests = self.requests, []
        for request in requests:
            for digest, offset, length in request["ranges"]:
                fields = {"job": job, "step": step, "ranges": [[digest, offset, length]], "error": error}
                self.fetcher.take(fields, DATA[offset : offset + length])


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_tasks_that_wait_for_a_blob_that_fails_share_the_next(server: Server) -> None:
    tasks = [gevent.spawn(server.fetcher.get, "j", 5, DIGEST, len(DATA)) for _ in range(3)]
    gevent.sleep(0)
    assert [(request["step"], request["ranges"]) for request in server.requests] == [(5, [[DIGEST, 0, len(DATA)]])]
    server.requests.clear()
    server.fetcher.take({"job": "j", "step": 5, "ranges": [], "error": "no such content"})
    assert gevent.wait(tasks, timeout=120, count=1) and str(tasks[0].exception) == "no such content"
    while not server.requests:
        gevent.sleep(0)
    server.answer()
    gevent.joinall(tasks[1:], timeout=120, raise_error=True)
    assert [Path(task.value).read_bytes() == DATA for task in tasks[1:]] == [True, True]
    assert not server.requests


def test_a_wrong_content_is_not_kept(server: Server) -> None:
    task = gevent.spawn(server.fetcher.get, "j", 5, "0" * 64, len(DATA))
    gevent.sleep(0)
    server.answer()
    task.join(120)
    assert "sha256" in str(task.exception) and not server.fetcher.blobs.has("0" * 64)


def test_what_is_lost_is_requested_again_from_where_it_was(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[bytes] = []
    task = gevent.spawn(
        server.fetcher.receive,
        "j",
        5,
        [Content(DIGEST, len(DATA))],
        lambda content, data, last: got.append(bytes(data)),
    )
    gevent.sleep(0)
    server.fetcher.take({"job": "j", "step": 5, "ranges": [[DIGEST, 0, PIECE]], "error": ""}, DATA[:PIECE])
    server.requests.clear()
    server.fetcher.repeat()
    assert [(one["anew"], one["ranges"]) for one in server.requests] == [(True, [[DIGEST, PIECE, len(DATA) - PIECE]])]
    server.fetcher.take({"job": "k", "step": 5, "ranges": [[DIGEST, PIECE, 1]], "error": ""}, b"x")
    server.fetcher.take({"job": "j", "step": 5, "ranges": [[DIGEST, 0, PIECE]], "error": ""}, DATA[:PIECE])
    server.answer()
    task.get(timeout=120)
    assert b"".join(got) == DATA
    monkeypatch.setattr(content_fetcher, "STALL", 0.05)
    task = gevent.spawn(server.fetcher.receive, "j", 5, [Content(DIGEST, len(DATA))], lambda *part: None)
    while len(server.requests) < 3:
        gevent.sleep(0.01)
    assert all(one["anew"] and one["ranges"][0][1] == 0 for one in server.requests)
    server.answer()
    task.get(timeout=120)


def test_an_error_of_the_taker_ends_the_request(server: Server) -> None:
    def fail(content: Content, data: memoryview, last: bool) -> None:
        raise VerbError("disk full")

    task = gevent.spawn(server.fetcher.receive, "j", 5, [Content(DIGEST, len(DATA))], fail)
    gevent.sleep(0)
    server.answer()
    with pytest.raises(VerbError, match="disk full"):
        task.get(timeout=120)
    assert not server.fetcher._transfers
