"""The client's journal: its append-only log of what it was given, began and finished.

One write for each fact; only `sync` flushes to disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from director.agent import facts
from director.agent.journal.log import Body, Log, failing
from director.agent.journal.state import State
from director.errors import BusyError, StoreError
from director.protocol.results import TaskResult
from director.runtime.durable import sync_folder

log = logging.getLogger(__name__)

INLINE_LIMIT = 64 * 1024  # bytes of outputs; larger ones get a file in the spool
REWRITE_FROM = 8 * 1024 * 1024  # bytes of the journal
SPOOL_LIMIT = 256 * 1024 * 1024  # bytes of the journal and its spool


class SpoolFullError(BusyError):
    """The journal and its spool are full: no slice is taken until the server has stored some results."""


class Journal(State):
    """What one client was given, began and finished. The caller holds the lock on the folder.

    A fact that was written survives the death of the client at once, the loss of power only after `sync`. Every
    method that writes raises StoreError when the disk is full or fails; the journal is then unchanged.

    Attributes:
        instance: random id of the state folder.
        former: the same, or the id of the folder that this one is a copy of.
        rebooted: the host was restarted since the journal was last opened.
        notes: the damage found when the journal was opened, a line each.
    """

    def __init__(self, folder: str, rewrite_from: int = REWRITE_FROM, limit: int = SPOOL_LIMIT) -> None:
        super().__init__(os.path.join(folder, "spool"))
        self.folder = folder
        self.instance = self.former = ""
        self.rebooted = False
        self.notes: list[str] = []
        self._log = Log(os.path.join(folder, "journal"))
        self._spooled = 0
        self._rewrite_from = rewrite_from
        self._limit = limit

    @classmethod
    def open(cls, folder: str, rewrite_from: int = REWRITE_FROM, limit: int = SPOOL_LIMIT) -> Journal:
        """Read the journal in `folder`, or create it; sizes in bytes. Raises StoreError."""
        journal = cls(folder, rewrite_from, limit)
        with failing(folder):
            os.makedirs(journal._spool, mode=0o700, exist_ok=True)
            journal.instance, journal.former = _instance(folder)
        journal._replay()
        return journal

    def _replay(self) -> None:
        cut = self._log.open(self.apply)
        if cut:
            self._note(f"{self._log.path}: {cut} bytes at its end were torn and are cut off")
        if not self._log.size:
            self._log.replace(self.records())
        self._check_spool()
        boot = facts.boot_id()
        if boot != self.boot:
            self.rebooted = bool(self.boot)
            self._append(["b", boot])

    def _note(self, text: str) -> None:
        log.warning("%s", text)
        self.notes.append(text)

    def _check_spool(self) -> None:
        """Give up outputs whose file is damaged or gone; remove files that belong to no result."""
        whole = set()
        self.dropped.clear()
        for name, step in self.unstored.values():
            kept = self.jobs[name].results[step]
            if not kept.path:
                continue
            if kept.is_whole():
                whole.add(os.path.basename(kept.path))
                self._spooled += kept.size
            else:
                self._note(f"{kept.path}: damaged; the output of step {step} of job {name} is lost")
                kept.lose_outputs()
        for file in set(os.listdir(self._spool)) - whole:
            _remove(os.path.join(self._spool, file))

    def _append(self, fields: list[Any], body: bytes = b"") -> None:
        offset, size = self._log.append(fields, body)
        self.apply(fields, Body(self._log, offset, len(body)), size)

    def take(self, job: str, head: dict[str, Any], parts: Sequence[tuple[int, int]], chunks: Sequence[bytes]) -> None:
        """The client was given the steps `first` to `last` of each part, with its chunk; durable on return.

        Raises SpoolFullError, StoreError.
        """
        for (first, last), chunk in zip(parts, chunks, strict=True):
            self.slice(job, head, first, last, chunk)
            head = {}
        self.sync()

    def slice(self, job: str, head: dict[str, Any], first: int, last: int, chunk: bytes) -> None:
        """Record the steps `first` to `last`; `head` is merged over the job's earlier one.

        Raises SpoolFullError, StoreError.
        """
        if self._log.size + self._spooled + len(chunk) > self._limit:
            size = self._limit >> 20
            raise SpoolFullError(f"{self.folder} holds {size} MiB that the server has not stored yet")
        self._append(["s", job, dict(head), first, last], chunk)

    def sync(self) -> None:
        """Flush to disk, which takes milliseconds: every fact so far survives a loss of power. Raises StoreError."""
        self._log.sync()

    def started(self, job: str, step: int, attempt: int) -> None:
        """A step is about to begin. Raises StoreError."""
        self._append(["o", job, step, attempt])

    def result(self, job: str, step: int, row: Sequence[Any], outputs: bytes = b"") -> int:
        """A step has ended; gives the number of the result, which rises. Recorded also when the spool is full.

        Raises StoreError.
        """
        number = self.number + 1
        if len(outputs) <= INLINE_LIMIT:
            self._append(["r", job, step, row, number, []], outputs)
            self._sweep()
            return number
        path = os.path.join(self._spool, str(number))
        try:
            _write_spool(path, outputs)
            self._append(["r", job, step, row, number, [len(outputs), zlib.crc32(outputs)]])
        except BaseException:
            _remove(path)
            raise
        self._spooled += len(outputs)
        self._sweep()
        return number

    def stored(self, number: int) -> None:
        """The server has stored every result up to `number`. Raises StoreError."""
        self._append(["n", number])
        self._tidy()

    def note(self, job: str, more: dict[str, Any]) -> None:
        """Merge facts of a job over its earlier ones. Raises StoreError."""
        self._append(["f", job, dict(more)])

    def closed(self, job: str) -> None:
        """Forget the job and its results. Raises StoreError."""
        self._append(["c", job])
        self._tidy()

    def _sweep(self) -> None:
        """Remove the files of results that are stored or replaced."""
        dropped, self.dropped = self.dropped, []
        for kept in dropped:
            _remove(kept.path)
            self._spooled -= kept.size

    def _tidy(self) -> None:
        self._sweep()
        if self._log.size > self._rewrite_from and self._log.size > 2 * self.live:
            self.rewrite()

    def rewrite(self) -> None:
        """Write the file anew without what is forgotten; called when that is more than half of it."""
        records = self.records()
        try:
            sizes = self._log.replace(records)
        except StoreError as error:  # the last fact is written; the old file stays in use
            log.warning("the journal could not be shortened: %s", error)
            self._rewrite_from = 2 * self._log.size
            return
        self.resize(records, sizes)

    def waiting(self) -> Iterator[tuple[int, str, TaskResult]]:
        """Number, job and result of what the server has not stored, oldest first."""
        for number, (job, step) in list(self.unstored.items()):
            yield number, job, TaskResult._make(self.jobs[job].results[step].row)

    def outputs(self, job: str, step: int) -> bytes:
        """Outputs of a result that is not stored; empty when the disk lost them."""
        record = self.jobs.get(job)
        kept = record.results.get(step) if record is not None else None
        try:
            return kept.outputs() if kept is not None else b""
        except StoreError as error:
            log.error("the output of step %d of job %s is lost: %s", step, job, error)
            return b""

    def close(self) -> None:
        """Close the file. Nothing waits to be written."""
        self._log.close()


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _write_spool(path: str, outputs: bytes) -> None:
    with failing(f"cannot write {path}"), open(path, "wb", opener=_private) as file:
        file.write(outputs)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _instance(folder: str) -> tuple[str, str]:
    """The random id of the folder, and the id it had before.

    The file holds its own inode number beside the id, which no copy has. A copied folder gets a new id, as it may be
    older than what the server knows of it.
    """
    path = os.path.join(folder, "instance")
    former = ""
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        former, *inode = file.read().split() or [""]
        if former and inode in ([], [str(os.fstat(file.fileno()).st_ino)]):
            return former, former
        log.warning("%s was copied or restored: it may be older than what was done", folder)
    name = os.urandom(16).hex()
    with open(f"{path}.new", "w", opener=_private) as file:
        file.write(f"{name} {os.fstat(file.fileno()).st_ino}\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)
    sync_folder(folder)
    return name, former or name
