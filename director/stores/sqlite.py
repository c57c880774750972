"""The ledger in SQLite, in a file or in memory: opens it, applies operations, frees space."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from director.errors import StoreError
from director.stores import repair, schema, sqlite_audit, sqlite_purge
from director.stores.audit_chain import Head
from director.stores.contract import Live, Op
from director.stores.queries import Queries
from director.stores.rows import MALFORMED, malformed
from director.stores.sqlite_connection import MEMORY, REMEDY, Connections, plain_errors
from director.stores.sqlite_writer import Writer

_VACUUM_PAGES = 2000  # freed at a time: a few milliseconds of work
_SPARE_PAGES = 2000  # that may stay free, to be used again
_TIDY_ROWS = 5000


class SqliteStore(Queries):
    """`Store` in a file of mode 0600, durable with WAL and synchronous=FULL, or in memory.

    Args:
        path: of the file, made when it is not there; its folder must exist. `MEMORY` for a database in memory.

    Raises:
        StoreError: it cannot be opened, is damaged, or another version of Director wrote it.
    """

    def __init__(self, path: str = MEMORY) -> None:
        with plain_errors(path):
            lost = _prepare(path) if path != MEMORY else ""
            super().__init__(Connections(path))
            db = self._connections.write
            try:
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
                schema.make(db)
                if lost:
                    _check_whole(path, db)
                self._connections.begin_reading()
            except BaseException:
                db.close()
                raise
        self._writer = Writer(db)

    def lost(self) -> str:
        """See `Store.lost`."""
        path = self._connections.path
        with plain_errors(path):
            return repair.lost(path) if path != MEMORY else ""

    def settle(self) -> None:
        """See `Store.settle`."""
        path = self._connections.path
        with plain_errors(path):
            if path != MEMORY:
                repair.settle(path)

    def apply(self, ops: Sequence[Op]) -> None:
        """See `Store.apply`. Raises DuplicateJobError, GoneJobError, BadOperationError, StoreError."""
        with self._connections.writing() as db:
            try:
                with self._transaction(db):
                    self._writer.write(ops)
            except (sqlite3.IntegrityError, sqlite3.InterfaceError, *MALFORMED) as error:
                raise malformed(error) from error
            if any(op[0] in ("purge_jobs", "prune") for op in ops):
                with suppress(sqlite3.Error):  # the operations are durable; space can be freed another time
                    _vacuum(db)

    def tidy(self) -> bool:
        """See `Store.tidy`."""
        with self._connections.writing() as db:
            with self._transaction(db):
                more = sqlite_purge.delete_some(db, _TIDY_ROWS)
                self._writer.numbers.forget()
            free = _free_pages(db)
            if free > _SPARE_PAGES:
                _vacuum(db)
            return more or _SPARE_PAGES < _free_pages(db) < free

    def job_info(self, id: str, live: Live) -> Iterator[bytes]:
        """See `Store.job_info`; all at once from memory, where a slow reader would delay all others."""
        parts = super().job_info(id, live)
        yield from list(parts) if self._connections.path == MEMORY else parts

    def outputs(self, id: str, step: int | None, nodes: Sequence[str] | None) -> Iterator[bytes]:
        """See `Store.outputs`; as `job_info` from memory."""
        parts = super().outputs(id, step, nodes)
        yield from list(parts) if self._connections.path == MEMORY else parts

    def audit_head(self) -> Head:
        """See `Store.audit_head`."""
        with self._connections.reading() as db:
            return sqlite_audit.head(db)[0]

    def audit_lines(self, after: int, limit: int) -> list[tuple[int, str]]:
        """See `Store.audit_lines`."""
        with self._connections.reading() as db:
            return sqlite_audit.lines(db, after, limit)

    def close(self) -> None:
        """See `Store.close`."""
        self._connections.close()

    @contextmanager
    def _transaction(self, db: sqlite3.Connection) -> Iterator[None]:
        try:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("COMMIT")
        except BaseException:
            self._writer.numbers.forget()
            if db.in_transaction:
                with suppress(sqlite3.Error):  # some errors roll back by themselves
                    db.execute("ROLLBACK")
            raise


def _prepare(path: str) -> str:
    """Mend the file's log, and make the file when it is not there; what was lost, "" for nothing."""
    lost = repair.mend(path)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    os.chmod(path, 0o600)
    return lost


def _check_whole(path: str, db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"the ledger {path} was damaged, and what is left is not whole ({found}); {REMEDY}")


def _vacuum(db: sqlite3.Connection) -> None:
    db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")  # execute would free one page only


def _free_pages(db: sqlite3.Connection) -> int:
    count: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    return count
