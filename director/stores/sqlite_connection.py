"""Connections to the ledger's file, and errors of SQLite in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from director.errors import StoreError

REMEDY = "restore it from a backup, or move it away and start with --new-ledger"
_SENTENCES = (
    ("is full", "the disk with the ledger {path} is full; free some space and try again, nothing was written"),
    ("malformed", f"the ledger {{path}} is damaged ({{error}}); {REMEDY}"),
    ("not a database", f"{{path}} is not a ledger ({{error}}); {REMEDY}"),
    ("locked", "another program holds the ledger {path}; end it and try again"),
    ("readonly", "the ledger {path} cannot be written ({error}); check its owner and mode"),
    ("unable to open", "the ledger {path} cannot be opened ({error}); check the folder and its mode"),
    ("", "the ledger {path} cannot be used: {error}"),
)


def connect(path: str, read_only: bool = False) -> sqlite3.Connection:
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
