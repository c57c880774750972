"""The files worker: asks nodes for pieces of their files, checks and stores them as blobs, writes fetched files.

Frames in: `{"offer": key, "part": i, "parts": n, "land": {…} or null}` with rows of `manifests` as body, or with
`"error"`; `{"piece": key, "file": row, "offset", "error"}` with its bytes; `{"over": job}`; `{"touch": [digest]}`;
`{"touch": []}` now and then, so that uploads whose node has fallen silent end.
Frames out: `{"pull": key, "pieces": [[row, offset, length]]}`; for FETCH `{"stored": key, "error", "changed"}` with
`{"paths", "left_out"}` as body; for a loan `{"lent": key, "digests": [], "more"}` and at last the sources as body, or
`{"lent": key, "error"}`. A key is `[job, step, set, node]`.

A digest proves nothing: every content is requested from the node that offers it, also when the server has it, unless
this node itself has sent it for this job.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from director.errors import DirectorError, VerbError
from director.protocol.framing import Channel
from director.transfer import fetch_writer
from director.transfer.blobs import KEEP_FREE, BlobStore, DamagedError
from director.transfer.manifests import BYTES_LIMIT, Row, contents
from director.workers.uploads import PART_LIMIT, PARTS, PATIENCE, PIECE, Key, Sent, Upload
from director.workers.worker import connect, dumps, serve, serving

log = logging.getLogger(__name__)

ACTIVE = 16  # uploads whose pieces are requested at a time
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


class Intake:
    """All uploads."""

    def __init__(self, channel: Channel, blobs: BlobStore) -> None:
        self._channel = channel
        self._blobs = blobs
        self._uploads: dict[Key, Upload] = {}
        self._sent = Sent()
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
        key = tuple(header.get("offer") or header["piece"])
        try:
            if "offer" in header:
                self._offer(key, header, body)
            else:
                self._piece(key, header, body)
        except (DirectorError, OSError, ValueError, RecursionError) as error:
            if key in self._uploads:
                self._end(self._uploads[key], str(getattr(error, "strerror", None) or error))
        self._go_on()

    # -- the manifest -----------------------------------------------------------------------------------------

    def _offer(self, key: Key, header: dict[str, Any], body: bytes) -> None:
        upload = self._uploads.get(key)
        if upload is not None and upload.digest and header["part"] == 0:  # the node offers again
            if header["parts"] == 1 and hashlib.sha256(body).digest() == upload.digest:
                upload.request_again()
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

    def _plan(self, upload: Upload) -> None:
        """It is the upload's turn: find what this node has not sent before, and whether there is room."""
        upload.has_turn, upload.moved = True, time.monotonic()
        missing: dict[str, int] = {}
        for number, row in enumerate(upload.read()):
            digest = row[4]
            sent = row[0] == "file" and self._sent.has(upload.key, digest) and self._blobs.has(digest)
            if row[0] == "file" and digest not in missing and not sent:
                missing[digest] = number
        self._check_room(sum(upload.rows[number][3] for number in missing.values()))
        for number in missing.values():
            if not upload.rows[number][3]:
                self._keep_small(upload, upload.rows[number], b"")
        upload.want(list(missing.values()))

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._blobs.folder)
        if disk.f_bavail * disk.f_frsize < size + KEEP_FREE:
            raise VerbError(f"the server has no room for {size} bytes")

    def _go_on(self) -> None:
        """Give uploads their turns, request pieces of those that have one, end those that are complete."""
        active: Counter[str] = Counter()
        turns = rows = 0
        for upload in list(self._uploads.values()):
            if turns >= ACTIVE:
                return
            if upload.digest and active[upload.node] < ACTIVE_OF_NODE:
                if not upload.has_turn and rows < ACTIVE_ROWS:
                    self._guarded(self._plan, upload)
                if upload.has_turn and self._uploads.get(upload.key) is upload:
                    active[upload.node] += 1
                    turns += 1
                    rows += len(upload.rows)
                    self._advance(upload)

    def _end_silent(self) -> None:
        """End the uploads that wait for a node which sends nothing."""
        limit = time.monotonic() - PATIENCE
        for upload in [one for one in self._uploads.values() if one.moved < limit]:
            if upload.has_turn or not upload.digest:
                self._end(upload, f"{upload.node} sent nothing for {PATIENCE:g} s")

    def _advance(self, upload: Upload) -> None:
        pulls = upload.next_pulls()
        if pulls:
            self._channel.send({"pull": upload.key, "pieces": pulls})
        elif not upload.requested:
            self._finish(upload)

    def _guarded(self, act: Callable[[Upload], None], upload: Upload) -> None:
        """Do something with an upload, which ends with the error if it fails."""
        try:
            act(upload)
        except (DirectorError, OSError, ValueError, RecursionError) as error:
            self._end(upload, str(getattr(error, "strerror", None) or error))

    # -- the pieces ---------------------------------------------------------------------------------------

    def _piece(self, key: Key, header: dict[str, Any], body: bytes) -> None:
        upload = self._uploads.get(key)
        length = upload.requested.pop((header["file"], header["offset"]), None) if upload else None
        if upload is None or length is None:
            return
        upload.moved = time.monotonic()
        if header["error"] or len(body) != length:
            raise VerbError(str(header["error"]) or "a file has become shorter while it was read")
        row = upload.rows[header["file"]]
        if row[3] <= PIECE:
            self._keep_small(upload, row, body)
        else:
            self._keep_piece(upload, header["file"], header["offset"], body)

    def _keep_small(self, upload: Upload, row: Row, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != row[4]:
            raise VerbError(CHANGED.format(row[1] or row[6]))
        self._blobs.put_bytes(body)
        self._sent.note(upload.key, row[4])

    def _keep_piece(self, upload: Upload, number: int, offset: int, body: bytes) -> None:
        row = upload.rows[number]
        temp, left = upload.temps.get(number) or (self._blobs.open_temp(), row[3])
        upload.temps[number] = temp, left - len(body)
        os.pwrite(temp.fd, body, offset)
        if left == len(body):
            del upload.temps[number]
            try:
                self._blobs.commit(temp, row[4])
                self._sent.note(upload.key, row[4])
            except DamagedError as error:
                raise VerbError(CHANGED.format(row[1] or row[6])) from error

    def _end_job(self, job: str) -> None:
        for key in [key for key in self._uploads if key[0] == job]:
            self._drop(key)
        self._sent.forget(job)

    # -- the end ------------------------------------------------------------------------------------------

    def _finish(self, upload: Upload) -> None:
        try:
            self._blobs.flush()
            if upload.land is not None:
                self._land(upload)
            else:
                self._lend(upload)
        except (DirectorError, OSError) as error:
            self._end(upload, str(error))

    def _land(self, upload: Upload) -> None:
        to = upload.land or {}
        owner = (to["uid"], to["gid"])
        written = fetch_writer.write(upload.rows, to["folder"], upload.key[3], owner, self._blobs.path)
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
        for temp, _ in upload.temps.values():
            self._blobs.drop(temp)


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
    with serving(channel):
        intake = Intake(channel, BlobStore(settings["blobs"]))
        serve(channel, lambda header, body, fds: intake.handle(header, body))


if __name__ == "__main__":
    main()
