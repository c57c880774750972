"""The files worker: asks nodes for pieces of their files, checks and stores them as blobs, writes fetched files.

Frames in: `{"offer": key, "part": i, "parts": n, "land": {…} or null}` with rows of `manifests` as body, or with
`"error"`; `{"piece": key, "file": row, "offset", "error"}` with its bytes; `{"drop": key}`; `{"touch": [digest]}`.
Frames out: `{"pull": key, "pieces": [[row, offset, length]]}`; for FETCH `{"stored": key, "error", "changed"}` with
`{"paths", "left_out"}` as body; for a loan `{"lent": key, "digests": [], "more"}` and at last the sources as body, or
`{"lent": key, "error"}`. A key is `[job, step, set, node]`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from itertools import islice
from typing import Any

import ujson

from director.errors import DirectorError, VerbError
from director.protocol.framing import Channel
from director.transfer import fetch_writer
from director.transfer.blobs import KEEP_FREE, BlobStore, DamagedError, Temp
from director.transfer.manifests import Row, check, contents
from director.workers.worker import connect, dumps, serve, serving

log = logging.getLogger(__name__)

PIECE = 512 * 1024
CREDIT = 4 * 1024 * 1024  # bytes requested and not received yet, of one upload
PULLS = 64  # pieces requested and not received yet, of one upload
ACTIVE = 16  # uploads whose pieces are requested at a time
UPLOADS = 20_000  # uploads at most
PARTS = 10_000
INLINE, INLINE_BYTES = 1000, 64 * 1024  # rows in an answer; more are stored as a blob
TEXT_LIMIT = 1 << 20  # bytes of destinations in an answer
CHANGED = "{!a:.200} was changed while it was read; try again"
BATCH = 5000  # digests in a frame

Key = tuple[str, int, int, str]


class Upload:
    """The files of one node for one step: first the manifest in parts, then the pieces."""

    def __init__(self, key: Key, parts: int, land: dict[str, Any] | None) -> None:
        self.key = key
        self.land = land
        self.parts: list[bytes | None] = [None] * parts
        self.digest = b""  # of the manifest, once it is complete
        self.rows: list[Row] = []
        self.wanted: deque[tuple[int, int, int]] = deque()
        self.requested: dict[tuple[int, int], int] = {}
        self.temps: dict[int, tuple[Temp, int]] = {}

    def take_part(self, number: int, body: bytes) -> bool:
        """Take a part of the manifest; whether it is complete now."""
        self.parts[number] = body
        return all(part is not None for part in self.parts)

    def read(self) -> None:
        """Read the complete manifest. Raises VerbError when a row is malformed."""
        whole = hashlib.sha256()
        rows: list[Row] = []
        for part in self.parts:
            whole.update(part or b"")
            found = ujson.loads(part or b"[]")
            if not isinstance(found, list):
                raise VerbError("a list of files has another shape")
            rows += found
        self.rows, self.digest, self.parts = check(rows), whole.digest(), []

    def request_again(self) -> None:
        """Let `next_pulls` return again what was requested: those requests are lost."""
        self.wanted.extendleft((row, at, length) for (row, at), length in self.requested.items())
        self.requested.clear()

    def next_pulls(self) -> list[tuple[int, int, int]]:
        """(row, offset, length) of the pieces to request now."""
        pulls = []
        room = CREDIT - sum(self.requested.values())
        while self.wanted and room > 0 and len(self.requested) < PULLS:
            row, offset, length = self.wanted.popleft()
            self.requested[row, offset] = length
            room -= length
            pulls.append((row, offset, length))
        return pulls


class Intake:
    """All uploads."""

    def __init__(self, channel: Channel, blobs: BlobStore) -> None:
        self._channel = channel
        self._blobs = blobs
        self._uploads: dict[Key, Upload] = {}

    def handle(self, header: dict[str, Any], body: bytes) -> None:
        """One frame of the parent."""
        if "touch" in header:
            for digest in header["touch"]:
                self._blobs.has(digest)
            return
        key = tuple(header.get("offer") or header.get("piece") or header["drop"])
        try:
            if "offer" in header:
                self._offer(key, header, body)
            elif "piece" in header:
                self._piece(key, header, body)
            else:
                self._drop(key)
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
            if not 0 < header["parts"] <= PARTS or len(self._uploads) >= UPLOADS:
                raise VerbError("the server takes no more files at the moment; try again")
            upload = self._uploads[key] = Upload(key, header["parts"], header.get("land"))
        if header.get("error"):
            self._end(upload, str(header["error"]))
        elif not upload.digest and 0 <= header["part"] < len(upload.parts) and upload.take_part(header["part"], body):
            upload.read()
            self._plan(upload)

    def _plan(self, upload: Upload) -> None:
        """Find the pieces whose blobs the server does not have."""
        missing: set[str] = set()
        for number, row in enumerate(upload.rows):
            digest, size = row[4], row[3]
            if row[0] != "file" or digest in missing or self._blobs.has(digest):
                continue
            missing.add(digest)
            upload.wanted.extend((number, at, min(PIECE, size - at)) for at in range(0, size, PIECE))
            if not size:
                self._keep_small(row, b"")
        sizes = contents(upload.rows)
        self._check_room(sum(sizes[digest] for digest in missing))

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._blobs.folder)
        if disk.f_bavail * disk.f_frsize < size + KEEP_FREE:
            raise VerbError(f"the server has no room for {size} bytes")

    def _go_on(self) -> None:
        """Request pieces of the first uploads; end those that are complete."""
        for upload in list(islice((one for one in self._uploads.values() if one.digest), ACTIVE)):
            pulls = upload.next_pulls()
            if pulls:
                self._channel.send({"pull": upload.key, "pieces": pulls})
            elif not upload.requested and not upload.wanted:
                self._finish(upload)

    # -- the pieces ---------------------------------------------------------------------------------------

    def _piece(self, key: Key, header: dict[str, Any], body: bytes) -> None:
        upload = self._uploads.get(key)
        length = upload.requested.pop((header["file"], header["offset"]), None) if upload else None
        if upload is None or length is None:
            return
        if header["error"] or len(body) != length:
            raise VerbError(str(header["error"]) or "a file has become shorter while it was read")
        row = upload.rows[header["file"]]
        if row[3] <= PIECE:
            self._keep_small(row, body)
        else:
            self._keep_piece(upload, header["file"], header["offset"], body)

    def _keep_small(self, row: Row, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != row[4]:
            raise VerbError(CHANGED.format(row[1] or row[6]))
        self._blobs.put_bytes(body)

    def _keep_piece(self, upload: Upload, number: int, offset: int, body: bytes) -> None:
        row = upload.rows[number]
        temp, left = upload.temps.get(number) or (self._blobs.open_temp(), row[3])
        upload.temps[number] = temp, left - len(body)
        os.pwrite(temp.fd, body, offset)
        if left == len(body):
            del upload.temps[number]
            try:
                self._blobs.commit(temp, row[4])
            except DamagedError as error:
                raise VerbError(CHANGED.format(row[1] or row[6])) from error

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
        for temp, _ in upload.temps.values() if upload else ():
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
