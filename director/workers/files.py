"""The files worker: requests contents of nodes, checks and stores them as blobs, writes fetched files.

Frames in: `{"offer": key, "part": i, "parts": n, "land": {…} or null}` with rows of `manifests` as body, or with
`"error"`; `{"contents": key, "ranges": [range], "error"}` with the bytes of these; `{"over": job}`; `{"touch":
[digest]}`; `{"touch": []}` now and then, so that uploads whose node has fallen silent end.
Frames out: `{"get": key, "ranges": [range], "anew"}`; for FETCH `{"stored": key, "error", "changed"}` with
`{"paths", "left_out"}` as body; for a loan `{"lent": key, "digests": [], "more"}` and at last the sources as body, or
`{"lent": key, "error"}`. A key is `[job, step, set, node]`.

A digest proves nothing: every content is requested from the node that offers it, also when the server has it, unless
this node itself has sent it for this job. What takes long is done a part at a time, between frames.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Generator
from typing import Any

from director.errors import DirectorError, VerbError
from director.protocol.framing import Channel
from director.runtime import heap
from director.transfer import fetch_writer
from director.transfer.blobs import KEEP_FREE, BlobStore, DamagedError, write_all
from director.transfer.manifests import BYTES_LIMIT, contents
from director.transfer.pieces import Content, Receiver, is_range
from director.workers.uploads import CREDIT, PART_LIMIT, PARTS, PATIENCE, Key, Sent, Upload
from director.workers.worker import connect, dumps, serve, serving

log = logging.getLogger(__name__)

ACTIVE = 16  # uploads whose contents are requested at a time
ACTIVE_OF_NODE = 4  # those of one node
ACTIVE_ROWS = 200_000  # of these uploads together, before another one gets its turn
UPLOADS = 20_000  # uploads at most
UPLOADS_OF_NODE = 2_000
LISTS = 512 << 20  # bytes of the lists that wait
LISTS_OF_NODE = 2 * BYTES_LIMIT
INLINE, INLINE_BYTES = 1000, 64 * 1024  # rows in an answer; more are stored as a blob
TEXT_LIMIT = 1 << 20  # bytes of destinations in an answer
CHANGED = "{!a:.200} was changed while it was read; try again"
BATCH = 5000  # digests in a frame

Parts = Generator[bool, None, None]  # work, a part at a time; True: it waits for another process


class Intake:
    """All uploads."""

    def __init__(self, channel: Channel, blobs: BlobStore) -> None:
        self._channel = channel
        self._blobs = blobs
        self._uploads: dict[Key, Upload] = {}
        self._sent = Sent()
        self._work: deque[tuple[Upload, Parts]] = deque()
        self._bytes = 0  # of all lists that wait
        self._of_node: Counter[str] = Counter()  # uploads
        self._bytes_of_node: Counter[str] = Counter()

    def handle(self, header: dict[str, Any], body: bytes) -> None:
        """One frame of the parent."""
        if "touch" in header:
            for digest in header["touch"]:
                self._blobs.has(digest)
            self._end_silent()
            self._go_on()
            return
        if "over" in header:
            self._end_job(header["over"])
            self._go_on()
            return
        key = tuple(header.get("offer") or header["contents"])
        try:
            if "offer" in header:
                self._offer(key, header, body)
            else:
                self._contents(key, header, body)
        except (DirectorError, OSError, ValueError, RecursionError) as error:
            if key in self._uploads:
                self._end(self._uploads[key], str(getattr(error, "strerror", None) or error))
        self._go_on()

    # -- the manifest -----------------------------------------------------------------------------------------

    def _offer(self, key: Key, header: dict[str, Any], body: bytes) -> None:
        upload = self._uploads.get(key)
        if upload is not None and upload.digest and header["part"] == 0:  # the node offers again
            if header["parts"] == 1 and hashlib.sha256(body).digest() == upload.digest:
                upload.anew = True
                return
            self._drop(key)
            upload = None
        if upload is None:
            upload = Upload(key, header["parts"], header.get("land"), time.monotonic())
            self._uploads[key] = upload
            self._of_node[upload.node] += 1
        if header.get("error"):
            self._end(upload, str(header["error"]))
            return
        why = self._why_no_room(upload, len(body))
        if why:
            raise VerbError(why)
        before = upload.size
        upload.take_part(header["part"], body)
        upload.moved = time.monotonic()
        self._bytes += upload.size - before
        self._bytes_of_node[upload.node] += upload.size - before

    def _why_no_room(self, upload: Upload, more: int) -> str:
        """Why a list, or a part of it, is not taken; "" when it is."""
        node = upload.node
        if not 0 < upload.count <= PARTS or more > PART_LIMIT or upload.size + more > BYTES_LIMIT:
            return f"a list of files has more than {BYTES_LIMIT >> 20} MiB"
        if self._of_node[node] > UPLOADS_OF_NODE or self._bytes_of_node[node] + more > LISTS_OF_NODE:
            return f"{node} offers more lists of files than the server keeps for one node; try again"
        if len(self._uploads) > UPLOADS or self._bytes + more > LISTS:
            return "the server takes no more files at the moment; try again"
        return ""

    def _plan(self, upload: Upload) -> Parts:
        """It is the upload's turn: find what this node has not sent before, and whether there is room."""
        yield from upload.read()
        upload.moved = time.monotonic()
        missing: dict[str, Content] = {}
        for row in upload.rows:
            digest = row[4]
            sent = row[0] == "file" and self._sent.has(upload.key, digest) and self._blobs.has(digest)
            if row[0] == "file" and digest not in missing and not sent:
                missing[digest] = Content(digest, row[3])
        self._check_room(sum(content.size for content in missing.values()))
        for content in missing.values():
            if not content.size:
                self._keep_small(upload, content, b"")
        upload.receiver = Receiver([content for content in missing.values() if content.size], CREDIT, CREDIT)

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._blobs.folder)
        if disk.f_bavail * disk.f_frsize < size + KEEP_FREE:
            raise VerbError(f"the server has no room for {size} bytes")

    def _go_on(self) -> None:
        """Give uploads their turns, request contents for those that have one, end those that are complete."""
        active: Counter[str] = Counter()
        turns = rows = 0
        for upload in list(self._uploads.values()):
            if turns >= ACTIVE:
                return
            if upload.digest and active[upload.node] < ACTIVE_OF_NODE:
                if not upload.has_turn and rows < ACTIVE_ROWS:
                    upload.has_turn, upload.moved = True, time.monotonic()
                    self._work.append((upload, self._plan(upload)))
                if upload.has_turn:
                    active[upload.node] += 1
                    turns += 1
                    rows += len(upload.rows)
                    self._advance(upload)

    def work(self) -> bool | None:
        """Do a part of the work that waits, if any; None without any, False when all of it waits for a process."""
        for _ in range(len(self._work)):
            upload, parts = self._work.popleft()
            if self._uploads.get(upload.key) is not upload:
                parts.close()
                continue
            try:
                waits = next(parts)
            except StopIteration:
                self._go_on()
                return True
            except (DirectorError, OSError, ValueError, RecursionError) as error:
                self._end(upload, str(getattr(error, "strerror", None) or error))
                self._go_on()
                return True
            self._work.append((upload, parts))
            if not waits:
                return True
        return False if self._work else None

    def _end_silent(self) -> None:
        """End the uploads that wait for a node which sends nothing."""
        limit = time.monotonic() - PATIENCE
        for upload in [one for one in self._uploads.values() if one.moved < limit]:
            if upload.has_turn or not upload.digest:
                self._end(upload, f"{upload.node} sent nothing for {PATIENCE:g} s")

    def _advance(self, upload: Upload) -> None:
        receiver = upload.receiver
        if receiver is None:
            return
        if upload.anew:
            receiver.again()
        if ranges := receiver.requests(time.monotonic()):
            self._channel.send({"get": upload.key, "ranges": ranges, "anew": upload.anew})
            upload.anew = False
        elif receiver.is_done:
            upload.receiver = None
            self._work.append((upload, self._finish(upload)))

    # -- the contents -------------------------------------------------------------------------------------

    def _contents(self, key: Key, header: dict[str, Any], body: bytes) -> None:
        upload, ranges = self._uploads.get(key), header["ranges"]
        if upload is None or upload.receiver is None:
            return
        upload.moved = time.monotonic()
        if header["error"]:
            raise VerbError(str(header["error"]))
        if not all(map(is_range, ranges)):
            raise VerbError(f"{upload.node} sends what is no range of a file")
        if len(body) != sum(length for _, _, length in ranges):
            raise VerbError("a file has become shorter while it was read")
        for content, data, last in upload.receiver.take(ranges, memoryview(body), upload.moved):
            if last and len(data) == content.size:
                self._keep_small(upload, content, bytes(data))
            else:
                self._keep_part(upload, content, data, last)

    def _keep_small(self, upload: Upload, content: Content, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != content.digest:
            raise VerbError(CHANGED.format(upload.name_of(content.digest)))
        self._blobs.put_bytes(data)
        self._sent.note(upload.key, content.digest)

    def _keep_part(self, upload: Upload, content: Content, data: memoryview, last: bool) -> None:
        if upload.temp is None:
            upload.temp, upload.sha = self._blobs.open_temp(), hashlib.sha256()
        write_all(upload.temp.fd, data)
        upload.sha.update(data)
        if last:
            temp, upload.temp = upload.temp, None
            try:
                self._blobs.commit(temp, content.digest, upload.sha.hexdigest())
                self._sent.note(upload.key, content.digest)
            except DamagedError as error:
                raise VerbError(CHANGED.format(upload.name_of(content.digest))) from error

    def _end_job(self, job: str) -> None:
        for key in [key for key in self._uploads if key[0] == job]:
            self._drop(key)
        self._sent.forget(job)

    # -- the end ------------------------------------------------------------------------------------------

    def _finish(self, upload: Upload) -> Parts:
        self._blobs.flush()
        yield False
        if upload.land is None:
            self._lend(upload)
            return
        to, written = upload.land, fetch_writer.Written()
        owner = (to["uid"], to["gid"])
        yield from fetch_writer.write(upload.rows, to["folder"], upload.node, owner, self._blobs.path, written)
        body = dumps({"paths": _bounded(written.paths), "left_out": _bounded(written.left_out)})
        self._end(upload, "", {"changed": written.changed}, body)

    def _lend(self, upload: Upload) -> None:
        digests = contents(upload.rows)
        answer: dict[str, Any] = {"sources": upload.rows}
        text = dumps(upload.rows)
        if len(upload.rows) > INLINE or len(text) > INLINE_BYTES:
            digest, size = self._blobs.put_bytes(text)
            self._blobs.flush()
            answer, digests[digest] = {"manifest": {"digest": digest, "size": size}}, size
        names = list(digests)
        for start in range(0, len(names), BATCH):
            self._channel.send({"lent": upload.key, "digests": names[start : start + BATCH], "more": True})
        self._end(upload, "", {"digests": [], "more": False}, dumps(answer))

    def _end(self, upload: Upload, error: str, more: dict[str, Any] | None = None, body: bytes = b"") -> None:
        kind = "lent" if upload.land is None else "stored"
        self._drop(upload.key)
        self._channel.send({kind: upload.key, "error": error[:2000], "changed": False, **(more or {})}, body)

    def _drop(self, key: Key) -> None:
        upload = self._uploads.pop(key, None)
        if upload is None:
            return
        self._bytes -= upload.size
        for counts, amount in ((self._of_node, 1), (self._bytes_of_node, upload.size)):
            counts[upload.node] -= amount
            if not counts[upload.node]:
                del counts[upload.node]
        if upload.temp is not None:
            self._blobs.drop(upload.temp)


def _bounded(lines: list[str]) -> list[str]:
    """As many lines as an answer may hold, and the number of the others."""
    size = 0
    for number, line in enumerate(lines):
        size += len(line) * 2 + 2
        if size > TEXT_LIMIT:
            return [*lines[:number], f"and {len(lines) - number} more"]
    return lines


def main() -> None:
    """Serve the parent until it closes the channel."""
    channel, settings = connect()
    heap.set_up()
    with serving(channel):
        intake = Intake(channel, BlobStore(settings["blobs"]))
        serve(channel, lambda header, body, fds: intake.handle(header, body), intake.work)


if __name__ == "__main__":
    main()
