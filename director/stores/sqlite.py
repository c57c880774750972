"""The ledger in one SQLite file: a connection that writes, one that reads, and errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ujson

from director.errors import StoreError
from director.stores import repair, sqlite_reader
from director.stores.contract import BadOperationError, Op
from director.stores.queries import Pick, Queries, StoredJob
from director.stores.schema import migrate
from director.stores.serializers import JobHead
from director.stores.sqlite_writer import IN_NODES, Writer, prunable

_PAGE = 1000
_VACUUM_PAGES = 2000  # given back after a purge: a few milliseconds of work
_SPARE_PAGES = 2000  # that may stay free, to be used again
_TIDY_ROWS = 5000

_MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
_REMEDY = "restore it from a backup, or move it away and start with --new-ledger"
_SENTENCES = (
    ("is full", "the disk with the ledger {path} is full; make room and try again, nothing was written"),
    ("malformed", f"the ledger {{path}} is damaged ({{error}}); {_REMEDY}"),
    ("not a database", f"{{path}} is not a ledger ({{error}}); {_REMEDY}"),
    ("locked", "another program holds the ledger {path}; end it and try again"),
    ("readonly", "the ledger {path} cannot be written ({error}); check its owner and mode"),
    ("unable to open", "the ledger {path} cannot be opened ({error}); check the folder and its mode"),
)


class SqliteStore(Queries):
    """`Store` in a file of mode 0600; durable with WAL and synchronous=FULL.

    Args:
        path: of the file, made when it is not there; its folder must exist.

    Raises: StoreError when it cannot be opened, is damaged, or is of a newer program.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._read_lock = threading.RLock()
        self._write_lock = threading.Lock()
        with self._plain_errors():
            lost = repair.mend(path)
            _make_private(path)
            self._write = self._connect()
            try:
                self._write.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
                self._write.execute("PRAGMA journal_mode = WAL")
                self._write.execute("PRAGMA synchronous = FULL")
                self._write.execute(f"PRAGMA journal_size_limit = {64 << 20}")
                migrate(self._write)
                if lost:
                    self._check_whole()
            except BaseException:
                self._write.close()
                raise
            self._read = self._connect(read_only=True)
            self._idle: list[sqlite3.Connection] = []
        self._writer = Writer(self._write)

    def _check_whole(self) -> None:
        found = self._write.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"the ledger {self.path} was damaged, and what is left is not whole ({found}); {_REMEDY}")

    def lost(self) -> str:
        """See `Store.lost`."""
        with self._plain_errors():
            return repair.lost(self.path)

    def settle(self) -> None:
        """See `Store.settle`."""
        with self._plain_errors():
            repair.settle(self.path)

    def apply(self, ops: Sequence[Op]) -> None:
        """See `Store.apply`."""
        with self._write_lock, self._plain_errors():
            try:
                self._write.execute("BEGIN IMMEDIATE")
                self._writer.write(ops)
                self._write.execute("COMMIT")
            except (sqlite3.IntegrityError, sqlite3.InterfaceError, *_MALFORMED) as error:
                self._roll_back()
                raise BadOperationError(f"the ledger was given what it cannot keep: {error!r}") from error
            except BaseException:
                self._roll_back()
                raise
            if any(op[0] in ("purge_jobs", "prune") for op in ops):
                with suppress(sqlite3.Error):  # room is given back another time; the operations are durable
                    self._write.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")  # execute frees one page

    def tidy(self) -> bool:
        """See `Store.tidy`."""
        with self._write_lock, self._plain_errors():
            try:
                self._write.execute("BEGIN IMMEDIATE")
                more = self._writer.bury(_TIDY_ROWS)
                self._write.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            free = self._free_pages()
            if free > _SPARE_PAGES:
                self._write.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            return more or _SPARE_PAGES < self._free_pages() < free

    def _free_pages(self) -> int:
        count: int = self._write.execute("PRAGMA freelist_count").fetchone()[0]
        return count

    def close(self) -> None:
        """See `Store.close`."""
        with self._write_lock, self._read_lock:
            for db in (self._read, *self._idle):
                db.close()
            self._idle.clear()
            self._write.close()

    # what Queries needs

    @contextmanager
    def view(self, job: str) -> Iterator[StoredJob]:
        # a connection of its own: a reader may take long over the parts of a large job
        with self._plain_errors():
            try:
                db = self._idle.pop()
            except IndexError:  # all are in use
                db = self._connect(read_only=True)
            try:
                db.execute("BEGIN")
                yield sqlite_reader.SqliteView(db, job)
                db.execute("COMMIT")
            except BaseException:
                db.close()
                raise
            self._idle.append(db)

    def ids(self, final: bool | None = None) -> Iterator[str]:
        after = 0
        while True:
            with self._reading() as db:
                page = sqlite_reader.ids(db, final, after, _PAGE)
            if not page:
                return
            after = page[-1][0]
            yield from (job for _, job in page)

    def starting_with(self, prefix: str, limit: int) -> list[str]:
        with self._reading() as db:
            return sqlite_reader.starting_with(db, prefix, limit)

    def newest(self) -> str | None:
        with self._reading() as db:
            found = db.execute("SELECT id FROM jobs ORDER BY seq DESC LIMIT 1").fetchone()
        return found[0] if found else None

    def head(self, job: str) -> JobHead:
        with self._reading() as db:
            return sqlite_reader.head(db, job)

    def open_heads(self) -> list[JobHead]:
        with self._reading() as db:
            return sqlite_reader.open_heads(db)

    def pick(self, pick: Pick) -> list[JobHead]:
        with self._reading() as db:
            return sqlite_reader.pick(db, pick)

    # the rest of Store

    def prunable(self, before: float, keep: int, limit: int) -> list[str]:
        """See `Store.prunable`."""
        with self._reading() as db:
            return [job for _, job in prunable(db, before, keep, limit)]

    def chunk(self, job: str, n: int) -> bytes:
        """See `Store.chunk`."""
        with self._reading() as db:
            return sqlite_reader.chunk(db, job, n)

    def effects(self, job: str, node: str) -> list[tuple[int, str]]:
        """See `Store.effects`."""
        with self._reading() as db:
            return sqlite_reader.effects(db, job, node)

    def nodes(self) -> list[dict[str, Any]]:
        """See `Store.nodes`."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT name, at, {', '.join(IN_NODES)} FROM nodes LEFT JOIN seen USING (name) ORDER BY name"
            )
            return [_node(dict(zip(("name", "last_seen", *IN_NODES), row, strict=True))) for row in rows]

    def find(self, job: str) -> dict[str, str] | None:
        """See `Store.find`."""
        with self._reading() as db:
            found = db.execute("SELECT state, digest FROM jobs WHERE id = ?", (job,)).fetchone()
        return {"state": found[0], "digest": found[1]} if found else None

    def blobs_of(self, job: str) -> list[str]:
        """See `Store.blobs_of`."""
        with self._reading() as db:
            found = db.execute(
                "SELECT digest FROM digests WHERE job = (SELECT seq FROM jobs WHERE id = ?) ORDER BY digest",
                (job,),
            )
            return [digest for (digest,) in found]

    def blobs(self) -> set[str]:
        """See `Store.blobs`."""
        with self._reading() as db:
            return {digest for (digest,) in db.execute("SELECT DISTINCT digest FROM digests")}

    # connections

    def _connect(self, read_only: bool = False) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
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
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock, self._plain_errors():
            yield self._read

    def _roll_back(self) -> None:
        self._writer.forget()
        if self._write.in_transaction:
            with suppress(sqlite3.Error):  # some errors roll back by themselves
                self._write.execute("ROLLBACK")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Errors of SQLite and of the file as StoreError, in a sentence for a person."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            text = next((text for word, text in _SENTENCES if word in str(error)), "")
            text = text or "the ledger {path} cannot be used: {error}"
            raise StoreError(text.format(path=self.path, error=error)) from error


def _make_private(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    os.chmod(path, 0o600)


def _node(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("labels", "args"):
        row[name] = ujson.loads(row[name]) if row[name] else {}
    return row
