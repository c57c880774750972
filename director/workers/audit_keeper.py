"""Moves lines of the audit log from the ledger into its files, and checks them; a thread of the ledger process.

A line is durable in the ledger together with what it tells of. The files follow in a moment: after a crash what they
lack is still in the ledger.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from director.errors import StoreError
from director.runtime.durable import sync_folder
from director.runtime.logs import stamp
from director.stores.audit_chain import REMOVED, Check, Head, read
from director.stores.contract import Store
from director.workers.audit_files import AuditFiles, rows_of

log = logging.getLogger(__name__)

FOLDER = "audit"  # in the server's folder
BATCH = 500  # lines that are written at once
KEPT = 1000  # lines that may be both in the files and in the ledger
PACE = 0.05  # seconds in which lines gather, so that the files need few flushes of the disk
RETRY = 1.0  # seconds
CATCH_UP = 10.0  # seconds that a check waits for the files


class AuditKeeper:
    """Writes the files; `run` is its thread.

    Args:
        folder: of the server.
        size, count: see `AuditFiles`.

    Attributes:
        trouble: why the files cannot be written, "" when they can.
        begun: set when the end of the files is known.
    """

    def __init__(self, store: Store, folder: str, size: int, count: int) -> None:
        self.files = AuditFiles(os.path.join(folder, FOLDER), size, count)
        self.trouble = ""
        self._changed = threading.Condition()  # notified when lines have come into the files
        self._store = store
        self._work = threading.Event()
        self._writing = threading.Lock()
        self.begun = threading.Event()
        self._forgotten = 0
        self._checks = threading.Lock()  # held during a check, so that no file is removed

    def wake(self) -> None:
        """The ledger has new lines."""
        self._work.set()

    def run(self) -> None:
        """Write for ever; what fails is tried again each second, and meanwhile `trouble` says why."""
        while True:
            if self.step():
                self._work.wait()
                self._work.clear()
                time.sleep(PACE)
            else:
                time.sleep(RETRY)

    def step(self) -> bool:
        """Write all lines that the ledger has; whether that was possible."""
        try:
            with self._writing:
                if not self.begun.is_set():
                    self._begin()
                    self.begun.set()
                self._write()
        except Exception as error:
            if not isinstance(error, (OSError, StoreError)):
                log.exception("the audit log could not be written")
            why = f"the audit log in {self.files.folder} cannot be written: {getattr(error, 'strerror', '') or error}"
            if why != self.trouble:
                log.error("%s; trying again every %g s", why, RETRY)
            self.trouble = why
            return False
        if self.trouble:
            log.warning("the audit log can be written again")
            self.trouble = ""
        return True

    def note(self, event: str, **fields: Any) -> None:
        """Add a line of the log about itself. Raises StoreError."""
        self._store.apply([("audit", {"entry": {"at": stamp(time.time()), "event": event, **fields}})])
        self._work.set()

    def wait_beyond(self, number: int, seconds: float) -> None:
        """Block until the files have lines after this one, for at most so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.files.head.number > number, seconds)

    def check(self) -> dict[str, Any]:
        """Check the whole log: `{"lines", "first", "last", "files", "waiting", "faults": [{…Fault}], "more"}`.

        `waiting` is the number of lines that are in the ledger and not in the files yet, `more` that of faults which
        are not in the list.
        """
        due = self._store.audit_head().number
        if not self.trouble:
            self.wait_beyond(due - 1, CATCH_UP)
        with self._checks:
            head, files = self.files.snapshot()
            check = Check()
            for extent in files:
                name = os.path.basename(extent.path)
                for place, text in enumerate(rows_of(extent), 1):
                    check.take(name, place, text)
            faults = check.end(head)
        return {
            "lines": check.lines, "first": check.first, "last": check.last, "files": len(files),
            "waiting": max(0, due - head.number), "more": check.left_out,
            "faults": [fault._asdict() for fault in faults],
        }  # fmt: skip

    def _begin(self) -> None:
        """Compare the files with the ledger; what does not fit is written down and logged."""
        cut = self.files.open()
        end, head = self.files.head, self._store.audit_head()
        if end.number > head.number:
            self._store.apply([("audit_head", end._asdict())])
            self.note("ledger-older", ledger=head.number, files=end.number)
            log.warning("the audit log has line %d, its ledger only knows line %d", end.number, head.number)
        rows = self._store.audit_lines(end.number, 1)
        following = rows[0][0] if rows else head.number + 1
        if following > end.number + 1:
            self.note("lines-missing", first=end.number + 1, last=following - 1)
            log.error("lines %d to %d of the audit log are missing", end.number + 1, following - 1)
        elif end != (_before(rows[0][1]) if rows else head):
            self.note("line-changed", line=end.number)
            log.error("line %d of the audit log was changed", end.number)
        if cut:
            self.note("unfinished-line-removed", bytes=cut)
            log.warning("the audit log ended in an unfinished line of %d bytes, which was removed", cut)

    def _write(self) -> None:
        while rows := self._store.audit_lines(self.files.head.number, BATCH):
            self.files.append(rows)
            with self._changed:
                self._changed.notify_all()
            self._remove_files()
        if self.files.head.number - self._forgotten > KEPT:
            self._forgotten = self.files.head.number
            self._store.apply([("audit_kept", {"number": self._forgotten})])

    def _remove_files(self) -> None:
        """Remove the oldest files when there are too many; the log says so first."""
        if not self._checks.acquire(blocking=False):
            return
        try:
            for path, first, last in self.files.surplus():
                self.note(REMOVED, first=first, last=last.number, last_hash=last.hash)
                os.unlink(path)
                sync_folder(self.files.folder)
        finally:
            self._checks.release()


def _before(text: str) -> Head:
    """The line before a line."""
    line = read(text.encode())
    return Head(line.number - 1, line.previous) if line else Head()
