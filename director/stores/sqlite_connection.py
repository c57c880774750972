"""Connections to a ledger in a file or in memory, and errors of SQLite in plain words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from director.errors import StoreError

REMEDY = "restore it from a backup, or move it away and start with --new-ledger"
MEMORY = ":memory:"
_SENTENCES = (
    ("is full", "the disk with the ledger {path} is full; free some space and try again, nothing was written"),
    ("malformed", f"the ledger {{path}} is damaged ({{error}}); {REMEDY}"),
    ("not a database", f"{{path}} is not a ledger ({{error}}); {REMEDY}"),
    ("locked", "another program holds the ledger {path}; end it and try again"),
    ("readonly", "the ledger {path} cannot be written ({error}); check its owner and mode"),
    ("unable to open", "the ledger {path} cannot be opened ({error}); check the folder and its mode"),
    ("", "the ledger {path} cannot be used: {error}"),
)


class Connections:
    """A connection to write, one to read, and one for each view.

    A database in memory has one connection for all of these, so that they wait for each other.

    Args:
        path: of the file, or `MEMORY`.

    Raises:
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.write_lock = self._read_lock = threading.RLock()
        self.write = self._read = _connect(path)
        self._idle: list[sqlite3.Connection] = []

    def begin_reading(self) -> None:
        """Open the connection to read; the schema must be there. Raises sqlite3.Error."""
        if self.path != MEMORY:
            self._read_lock, self._read = threading.RLock(), _connect(self.path, read_only=True)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection to write, for one thread at a time. Raises StoreError."""
        with self.write_lock, plain_errors(self.path):
            yield self.write

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection to read, for one thread at a time. Raises StoreError."""
        with self._read_lock, plain_errors(self.path):
            yield self._read

    @contextmanager
    def view(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the database as it is now until the `with` ends. Raises StoreError."""
        if self.path == MEMORY:
            with self.reading() as db:
                yield db
            return
        # a connection of its own: a reader may take long over the parts of a large job
        with plain_errors(self.path):
            try:
                db = self._idle.pop()
            except IndexError:  # all are in use
                db = _connect(self.path, read_only=True)
            try:
                db.execute("BEGIN")
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.close()
                raise
            self._idle.append(db)

    def close(self) -> None:
        """Close all connections that are not in use; a second call does nothing."""
        with self.write_lock, self._read_lock:
            for db in (self.write, self._read, *self._idle):
                db.close()
            self._idle.clear()


def _connect(path: str, read_only: bool = False) -> sqlite3.Connection:
    """A connection for any thread, one at a time. Raises sqlite3.Error."""
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA busy_timeout = 10000")
        db.execute("PRAGMA cache_size = -8000")
        if read_only:
            db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def plain_errors(path: str) -> Iterator[None]:
    """Turns errors of SQLite and of the file into a StoreError with one sentence."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = next(text for word, text in _SENTENCES if word in str(error))
        raise StoreError(text.format(path=path, error=error)) from error
