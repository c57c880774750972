"""The ledger in one SQLite file: opens it, applies operations, frees space."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from director.errors import StoreError
from director.stores import repair, sqlite_purge
from director.stores.contract import Op
from director.stores.rows import MALFORMED, malformed
from director.stores.schema import migrate
from director.stores.sqlite_connection import REMEDY, connect, plain_errors
from director.stores.sqlite_reader import Reader
from director.stores.sqlite_writer import Writer

_VACUUM_PAGES = 2000  # freed at a time: a few milliseconds of work
_SPARE_PAGES = 2000  # that may stay free, to be used again
_TIDY_ROWS = 5000


class SqliteStore(Reader):
    """`Store` in a file of mode 0600; durable with WAL and synchronous=FULL.

    Args:
        path: of the file, made when it is not there; its folder must exist.

    Raises: StoreError when it cannot be opened, is damaged, or a newer program wrote it.
    """

    def __init__(self, path: str) -> None:
        self._write_lock = threading.Lock()
        with plain_errors(path):
            lost = repair.mend(path)
            _make_private(path)
            self._write = connect(path)
            try:
                self._write.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
                self._write.execute("PRAGMA journal_mode = WAL")
                self._write.execute("PRAGMA synchronous = FULL")
                self._write.execute(f"PRAGMA journal_size_limit = {64 << 20}")
                migrate(self._write)
                if lost:
                    _check_whole(path, self._write)
                super().__init__(path)
            except BaseException:
                self._write.close()
                raise
        self._writer = Writer(self._write)

    def lost(self) -> str:
        """See `Store.lost`."""
        with plain_errors(self.path):
            return repair.lost(self.path)

    def settle(self) -> None:
        """See `Store.settle`."""
        with plain_errors(self.path):
            repair.settle(self.path)

    def apply(self, ops: Sequence[Op]) -> None:
        """See `Store.apply`."""
        with self._write_lock, plain_errors(self.path):
            try:
                with self._transaction():
                    self._writer.write(ops)
            except (sqlite3.IntegrityError, sqlite3.InterfaceError, *MALFORMED) as error:
                raise malformed(error) from error
            if any(op[0] in ("purge_jobs", "prune") for op in ops):
                with suppress(sqlite3.Error):  # the operations are durable; space can be freed another time
                    self._vacuum()

    def tidy(self) -> bool:
        """See `Store.tidy`."""
        with self._write_lock, plain_errors(self.path):
            with self._transaction():
                more = sqlite_purge.delete_some(self._write, _TIDY_ROWS)
                self._writer.numbers.forget()
            free = self._free_pages()
            if free > _SPARE_PAGES:
                self._vacuum()
            return more or _SPARE_PAGES < self._free_pages() < free

    def close(self) -> None:
        """See `Store.close`."""
        with self._write_lock:
            self.close_readers()
            self._write.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._write.execute("BEGIN IMMEDIATE")
            yield
            self._write.execute("COMMIT")
        except BaseException:
            self._writer.numbers.forget()
            if self._write.in_transaction:
                with suppress(sqlite3.Error):  # some errors roll back by themselves
                    self._write.execute("ROLLBACK")
            raise

    def _vacuum(self) -> None:
        self._write.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")  # execute would free one page only

    def _free_pages(self) -> int:
        count: int = self._write.execute("PRAGMA freelist_count").fetchone()[0]
        return count


def _check_whole(path: str, db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"the ledger {path} was damaged, and what is left is not whole ({found}); {REMEDY}")


def _make_private(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    os.chmod(path, 0o600)
