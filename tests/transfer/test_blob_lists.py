"""A job with many files names its blobs by a list, and no message between processes has all of them."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ujson
from verb_node import Fleet

from director.agent.node_transfer import _parts
from director.library.submission import Wants
from director.protocol import framing, messages
from director.scheduler.build import new_run
from director.server import ledger_client
from director.server.file_server import FileServer
from director.server.roster import NodeRecord
from director.stores.sqlite import SqliteStore
from director.transfer.blob_lists import NAMED, PREFIX, SETS, expanded, named, of_sets, set_of, shortened
from director.transfer.blobs import BlobStore
from director.transfer.pieces import cut
from director.verbs.own import Folder
from director.workers.files import Intake
from director.workers.housekeeping import Housekeeper
from director.workers.planner import Planner

MANY = 50_000
FRAME = 2 * 1024 * 1024  # bytes of any frame about a job of many files
SMALL = 128 * 1024  # bytes of what is kept in memory of its plan, and of its steps
META = {"step_count": 1, "stages": [{"name": "", "nodes": ["a"]}], "blocks": [{"first": 0, "last": 0, "stage": 0}]}


def sha(number: int) -> str:
    """A digest."""
    return hashlib.sha256(b"%d" % number).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "blobs"))


def test_few_contents_are_named_one_by_one(blobs: BlobStore) -> None:
    needed = {sha(number): number for number in range(NAMED)}
    assert shortened(needed, (), blobs) == needed


def test_many_are_found_in_their_list(blobs: BlobStore) -> None:
    needed = {sha(number): number for number in range(NAMED + 1)}
    names = shortened(needed, {sha(7)}, blobs)
    blobs.flush()
    (name,) = names.keys() - {sha(7)}
    assert names[sha(7)] == 7 and name.startswith(PREFIX)
    assert all(named(names, digest, blobs) for digest in needed)
    assert not any(named(names, sha(-number), blobs) for number in range(1, 100))
    assert set(expanded(names, blobs)) == {*needed, name.removeprefix(PREFIX)}


def test_a_list_of_sets_knows_what_each_node_may_have(blobs: BlobStore) -> None:
    members = {"a": 0, "b": 1, "c": 0, "d": 300}
    sets = [[sha(1), sha(2)], [sha(3)], *([] for _ in range(298)), [sha(1)]]
    name, size = of_sets(members, sets, blobs)
    blobs.flush()
    assert name.startswith(SETS) and size == 32 * (4 + 4)
    assert {node: set_of(name, node, blobs) for node in (*members, "e", "")} == {**members, "e": -1, "": -1}
    may = {node: [n for n in range(5) if named([name], sha(n), blobs, node)] for node in (*members, "e", "")}
    assert may == {"a": [1, 2], "b": [3], "c": [1, 2], "d": [1], "e": [], "": []}
    assert list(expanded([name], blobs)) == [name.removeprefix(SETS)]


def test_contents_in_a_list_are_offered_and_kept(blobs: BlobStore) -> None:
    wanted = [blobs.put_bytes(b"%d" % number)[0] for number in range(NAMED + 1)]
    stranger = blobs.put_bytes(b"stranger")[0]
    names = shortened(dict.fromkeys(wanted, 1), (), blobs)
    blobs.flush()
    run = new_run("j", {**META, "chunks": [{"first": 0, "contents": names}]}, ())
    sent: list[bytes] = []
    server: Any = SimpleNamespace(runs={"j": run})
    sender: Any = SimpleNamespace(send=lambda record, header: sent.append(header))
    files = FileServer(blobs, server, lambda *asked: False, sender)
    for digest in (wanted[1], stranger, "no digest"):
        fields = {"job": "j", "step": 0, "ranges": [[digest, 0, 1]], "anew": True}
        files.get(NodeRecord("a", "k"), fields, b"")
    errors = [messages.decode([header], "server")[1]["error"] for header in sent]
    assert len(errors) == 2 and all(errors) and list(files._lanes) == ["a"]

    for digest in (*wanted, stranger):
        os.utime(blobs.path(digest), (0, 0))
    store = SqliteStore()
    job = {"id": "j", "name": "", "kind": "exec", "created_at": 1.0, "submitted_by": "", "digest": "d", "options": {}}
    counts = {"step_count": 1, "node_count": 1, "task_count": 1}
    store.apply([("accept", {**job, **counts, "meta": {}, "nodes": ["a"], "digests": names})])
    Housekeeper(store, blobs).clean()
    assert all(os.path.exists(blobs.path(digest)) for digest in wanted) and not os.path.exists(blobs.path(stranger))


class Line:
    """A channel that keeps frames with their sizes, and keeps descriptors open."""

    def __init__(self) -> None:
        self.frames: list[tuple[dict[str, Any], bytes, list[int]]] = []
        self.largest = 0

    def send(self, header: dict[str, Any] | str, body: bytes = b"", fds: Any = ()) -> None:
        head = framing.encode(header, body, len(fds), framing.WORKER_HEADER_LIMIT)
        self.largest = max(self.largest, len(head) + len(body))
        fields = ujson.loads(head[framing.PREFIX :])
        self.frames.append((fields, bytes(body), [os.dup(fd) for fd in fds]))

    def take(self) -> list[tuple[dict[str, Any], bytes, list[int]]]:
        """The frames since the last call."""
        frames, self.frames = self.frames, []
        return frames


class Link(Line):
    """The same for the submitter's command."""

    def send(self, header: dict[str, Any], fds: Any = (), body: bytes = b"") -> None:  # type: ignore[override]
        super().send(header, body, fds)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of many small files."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"file-{number}").write_bytes(b"%d" % number)
    return folder


@pytest.mark.slow
def test_no_frame_of_a_plan_holds_the_whole_list(many: Path, blobs: BlobStore, tmp_path: Path) -> None:
    """Messages from the submitter to the planner, and from there to the server, the ledger and the nodes."""
    out, cli = Line(), Link()
    planner = Planner(out, blobs, Folder(str(tmp_path / "verbs"), {}))  # type: ignore[arg-type]
    planner.mirror.update({"nodes": [[name, True, {}, "{}"] for name in Fleet(web_01=True).names()]})
    wants = Wants(cli)  # type: ignore[arg-type]
    text = f"COPY {many} /srv/\n" + "COPY --chmod=0600 /etc/hostname /srv/\n" * 300
    file = {"name": "exec", "form": "auto", "text": text, "folder": str(tmp_path)}
    planner.handle({"plan": {"file": file, "options": {}}, "req": 1}, b"", [])
    meta, chunks, spec = None, [], -1
    while meta is None:
        for header, body, _ in out.take():
            assert "error" not in header, header
            if "want" in header:
                spec = header["want"]["spec"]
                wants.begin({**header["want"], "req": 1})
            elif "next" in header:
                wants.go_on()
            elif "chunk" in header:
                chunks.append(body)
            else:
                meta = header["planned"]
        for header, body, fds in cli.take():
            planner.handle({**header, "source": 1, "spec": spec, "last": not header.get("entries")}, body, fds)
            for fd in fds:
                os.close(fd)
    assert max(out.largest, cli.largest) <= FRAME
    assert len(ujson.dumps(meta)) <= SMALL and len(chunks) == 2 and max(map(len, chunks)) <= SMALL
    fields = {"id": "j", "meta": meta, "digests": meta["digests"]}
    write = ledger_client._encode(1, [("accept", fields, chunks)], None, False)
    assert write.head + write.body <= FRAME
    slice_ = messages.encode("slice", seq=1, job="j", chunk=0, parts=[[0, 255]])
    assert len(slice_) + len(chunks[0]) <= FRAME
    manifest = ujson.loads(chunks[0])[0]["body"]["manifest"]
    rows = ujson.loads(Path(blobs.path(manifest["digest"])).read_bytes())
    packs = [row[4] for row in rows if row[0] == "pack"]
    assert len(rows) == MANY + 1 + len(packs) and len(packs) < MANY / 1000
    assert all(named(meta["digests"], digest, blobs) for digest in (manifest["digest"], *packs))


@pytest.mark.slow
def test_no_frame_of_an_exchange_holds_the_whole_list(blobs: BlobStore) -> None:
    """Messages of a node transfer (COPY --from, FETCH): offer, requests and end."""
    rows = [["file", f"folder/file-{n}", 0o644, len(b"%d" % n), sha(n), "", ""] for n in range(MANY)]
    contents = {sha(n): b"%d" % n for n in range(MANY)}
    parts = list(_parts(rows))
    assert len(parts) > 1 and max(map(len, parts)) <= FRAME
    line = Line()
    intake = Intake(line, blobs)  # type: ignore[arg-type]
    key = ["job", 1, 0, "db"]
    for number, part in enumerate(parts):
        intake.handle({"offer": key, "part": number, "parts": len(parts), "error": ""}, part)
    lent: set[str] = set()
    answer = b""
    while not answer:
        for header, body, _ in line.take():
            assert not header.get("error"), header
            answer = body
            lent.update(header.get("digests", ()))
            waiting = deque(map(tuple, header.get("ranges", ())))
            while waiting:
                ranges = cut(waiting)
                data = b"".join(contents[digest][offset : offset + length] for digest, offset, length in ranges)
                intake.handle({"contents": key, "ranges": list(map(list, ranges)), "error": ""}, data)
        while intake.work() is not None:
            pass
    assert line.largest <= FRAME and len(answer) <= SMALL
    assert ujson.loads(answer)["manifest"]["digest"] in lent and sha(MANY - 1) in lent
