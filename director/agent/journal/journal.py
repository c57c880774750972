"""The journal in a client's state folder: one call a fact, one write a call, a flush only where asked."""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from director.agent.journal.log import Body, Log, sync_folder
from director.agent.journal.state import JobRecord, State
from director.errors import BusyError, StoreError

log = logging.getLogger(__name__)

INLINE_LIMIT = 64 * 1024
REWRITE_FROM = 8 * 1024 * 1024
SPOOL_LIMIT = 256 * 1024 * 1024


class SpoolFullError(BusyError):
    """The journal and its spool hold all they may: nothing new is taken until the server has stored some."""


class Boot(NamedTuple):
    """The kernel's boot, now and as the journal was last opened; `changed`: the machine was down between."""

    id: str
    last: str
    changed: bool


class Journal:
    """What one client was given and did. The caller holds the lock on the folder.

    Every method that writes raises StoreError when the disk is full or fails; the fact is then not in the
    journal. Facts survive the death of the client at once, the loss of power only after `sync`.

    Attributes:
        instance: random, made with the folder.
        former: the same, or that of the folder which this one is a copy of.
        mark: count of facts ever written, also over rewrites of the file.
        seq: the highest delivery number of any slice.
        boot: see `Boot`.
        notes: what was found damaged when it was opened.
    """

    def __init__(self, folder: str, rewrite_from: int = REWRITE_FROM, limit: int = SPOOL_LIMIT) -> None:
        self.folder = folder
        self.instance = self.former = ""
        self.boot = Boot("", "", False)
        self.notes: list[str] = []
        self._spool = os.path.join(folder, "spool")
        self._state = State(self._spool)
        self._log = Log(os.path.join(folder, "journal"))
        self._spooled = 0
        self._rewrite_from = rewrite_from
        self._limit = limit

    @classmethod
    def open(cls, folder: str, rewrite_from: int = REWRITE_FROM, limit: int = SPOOL_LIMIT) -> Journal:
        """Read what is there, or begin; sizes in bytes. Raises StoreError."""
        journal = cls(folder, rewrite_from, limit)
        try:
            os.makedirs(journal._spool, mode=0o700, exist_ok=True)
            journal.instance, journal.former = _instance(folder)
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror}") from error
        journal._replay()
        return journal

    @property
    def mark(self) -> int:
        """Count of facts ever written."""
        return self._state.mark

    @property
    def seq(self) -> int:
        """The highest delivery number of any slice."""
        return self._state.seq

    def _replay(self) -> None:
        state = self._state
        cut = self._log.open(state.apply)
        if cut:
            self._note(f"{self._log.path}: {cut} bytes at its end were torn and are cut off")
        if not self._log.size:
            self._log.replace(state.records())
        now, last = _boot_id(), state.boot
        self.boot = Boot(now, last, bool(last) and last != now)
        self._check_spool()
        if last != now:
            self._append(["b", now])

    def _note(self, text: str) -> None:
        log.warning("%s", text)
        self.notes.append(text)

    def _check_spool(self) -> None:
        """Outputs whose file did not survive are given up; files without a result go."""
        state, whole = self._state, set()
        state.dropped.clear()
        for name, step in state.waiting.values():
            kept = state.jobs[name].results[step]
            if not kept.path:
                continue
            if kept.is_whole():
                whole.add(os.path.basename(kept.path))
                self._spooled += kept.size
            else:
                self._note(f"{kept.path}: damaged; the output of step {step} of job {name} is lost")
                kept.lose_outputs()
        for file in set(os.listdir(self._spool)) - whole:
            self._remove(os.path.join(self._spool, file))

    @staticmethod
    def _remove(path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _append(self, fields: list[Any], body: bytes = b"") -> None:
        offset, size = self._log.append(fields, body)
        self._state.apply(fields, Body(self._log, offset, len(body)), size)

    def slice(
        self,
        seq: int,
        job: str,
        head: dict[str, Any],
        first: int,
        last: int,
        chunk: bytes,
        durable: bool = True,
    ) -> None:
        """Steps `first` to `last` were handed over; `head` is merged over the job's earlier ones.

        With `durable` false the caller calls `sync` before it says that it has them. Raises SpoolFullError,
        StoreError.
        """
        if self._log.size + self._spooled + len(chunk) > self._limit:
            size = self._limit >> 20
            raise SpoolFullError(f"{self.folder} holds {size} MiB that the server has not stored yet")
        self._append(["s", seq, job, dict(head), first, last], chunk)
        if durable:
            self.sync()

    def sync(self) -> None:
        """Everything so far survives a loss of power; takes milliseconds."""
        self._log.sync()

    def started(self, job: str, step: int, attempt: int) -> None:
        """A step is about to begin."""
        self._append(["o", job, step, attempt])

    def result(self, job: str, step: int, row: Sequence[Any], outputs: bytes = b"") -> int:
        """A step ended; the result's number, which rises. Kept also when the spool is full."""
        number = self._state.number + 1
        if len(outputs) <= INLINE_LIMIT:
            self._append(["r", job, step, row, number, []], outputs)
            self._sweep()
            return number
        path = os.path.join(self._spool, str(number))
        try:
            self._write_spool(path, outputs)
            self._append(["r", job, step, row, number, [len(outputs), zlib.crc32(outputs)]])
        except BaseException:
            self._remove(path)
            raise
        self._spooled += len(outputs)
        self._sweep()
        return number

    @staticmethod
    def _write_spool(path: str, outputs: bytes) -> None:
        try:
            with open(path, "wb", opener=_private) as file:
                file.write(outputs)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def acked(self, job: str, *steps: int) -> None:
        """The server has stored the results of these steps."""
        self._append(["a", job, list(steps)])
        self._tidy()

    def stored(self, number: int) -> None:
        """The server has stored every result up to this number."""
        self._append(["n", number])
        self._tidy()

    def note(self, job: str, facts: dict[str, Any]) -> None:
        """Facts of a job that must survive, over earlier ones."""
        self._append(["f", job, dict(facts)])

    def closed(self, job: str) -> None:
        """The job needs nothing any more: forget it, its results too."""
        self._append(["c", job])
        self._tidy()

    def _sweep(self) -> None:
        """Remove files of results that are no longer kept."""
        dropped, self._state.dropped = self._state.dropped, []
        for kept in dropped:
            self._remove(kept.path)
            self._spooled -= kept.size

    def _tidy(self) -> None:
        self._sweep()
        if self._log.size > self._rewrite_from and self._log.size > 2 * self._state.live:
            self.rewrite()

    def rewrite(self) -> None:
        """Write the file anew with only what is alive; done by itself when most of it is dead."""
        records = self._state.records()
        try:
            sizes = self._log.replace(records)
        except StoreError as error:  # the fact itself is written; the old file goes on
            log.warning("the journal stays long: %s", error)
            self._rewrite_from = 2 * self._log.size
            return
        self._state.resize(records, sizes)

    def replay(self) -> dict[str, JobRecord]:
        """Every job that is not closed, as it stands; to be read only."""
        return self._state.jobs

    def close(self) -> None:
        """Close the file; everything is written already."""
        self._log.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _instance(folder: str) -> tuple[str, str]:
    """The folder's random name, made on the first call and anew in a copy of the folder; and the one before.

    Beside the name stands the number of the file's own inode, which no copy has: a folder that came out of a
    backup may be older than what the server knows of it, even when it had told the server nothing newer.
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
