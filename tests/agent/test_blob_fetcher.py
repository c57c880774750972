"""Downloads of blobs: shared by the tasks that need them, and tried again by the others when one fails."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gevent

from director.agent.blob_fetcher import PIECE, Fetcher
from director.protocol import messages
from director.transfer.blobs import BlobStore


def test_tasks_that_wait_for_a_download_that_fails_share_the_next(tmp_path: Path) -> None:
    data = b"x" * (PIECE + 1)
    digest = hashlib.sha256(data).hexdigest()
    requests: list[dict[str, Any]] = []

    def send(*frames: bytes) -> None:
        requests.append(messages.decode([*frames], "client")[1])

    fetcher = Fetcher(BlobStore(str(tmp_path)), send)
    tasks = [gevent.spawn(fetcher.get, "j", 5, digest, len(data)) for _ in range(3)]
    gevent.sleep(0)
    assert {request["step"] for request in requests} == {5}
    assert [request["offset"] for request in requests] == [0, PIECE], "one of them requests the pieces"
    fetcher.take({"digest": digest, "offset": 0, "error": "no such content"}, b"")
    assert gevent.wait(tasks, timeout=120, count=1) and str(tasks[0].exception) == "no such content"
    while len(requests) < 4:
        gevent.sleep(0)
    for request in requests[2:]:
        offset = request["offset"]
        fetcher.take({"digest": digest, "offset": offset, "error": ""}, data[offset : offset + PIECE])
    gevent.joinall(tasks[1:], timeout=120, raise_error=True)
    assert [Path(task.value).read_bytes() == data for task in tasks[1:]] == [True, True]
    assert len(requests) == 4
