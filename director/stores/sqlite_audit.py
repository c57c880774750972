"""The end of the audit log in SQLite: the head of its chain, and the lines that may not be in its files yet."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from director.node_sets import fold
from director.stores.audit_chain import Head, seal

NODES = 32_000  # characters of the names of nodes in a line


def append(db: sqlite3.Connection, operations: Iterable[Mapping[str, Any]]) -> None:
    """Write the lines of `audit` operations, but those that were applied before.

    Raises:
        KeyError, TypeError, ValueError: one is malformed. sqlite3.Error.
    """
    end, run, stamp = head(db)
    lines = []
    for fields in operations:
        mark = fields.get("run", ""), fields.get("stamp", 0)
        if mark[0]:
            if mark[0] == run and mark[1] <= stamp:
                continue
            run, stamp = mark
        text, end = seal({**fields["entry"], **_shown(fields.get("nodes", ()))}, end)
        lines.append((end.number, text))
    db.executemany("INSERT INTO audit (number, line) VALUES (?,?)", lines)
    db.execute(
        "INSERT OR REPLACE INTO audit_head (one, number, hash, run, stamp) VALUES (1,?,?,?,?)", (*end, run, stamp)
    )


def _shown(names: Collection[str]) -> dict[str, Any]:
    """The names, folded, and their number; of very many names the first."""
    if not names:
        return {}
    text = fold(names)
    more = {"nodes_sha256": hashlib.sha256(text.encode()).hexdigest()} if len(text) > NODES else {}
    return {"nodes": text[:NODES], "node_count": len(set(names)), **more}


def set_head(db: sqlite3.Connection, end: Head) -> None:
    """Let the chain go on behind another line. Raises sqlite3.Error."""
    _, run, stamp = head(db)
    db.execute("DELETE FROM audit")
    db.execute(
        "INSERT OR REPLACE INTO audit_head (one, number, hash, run, stamp) VALUES (1,?,?,?,?)", (*end, run, stamp)
    )


def head(db: sqlite3.Connection) -> tuple[Head, str, int]:
    """The end of the chain, and the run and stamp of the last operation that had them. Raises sqlite3.Error."""
    row = db.execute("SELECT number, hash, run, stamp FROM audit_head").fetchone()
    return (Head(row[0], row[1]), row[2], row[3]) if row else (Head(), "", 0)


def lines(db: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """See `Store.audit_lines`. Raises sqlite3.Error."""
    return db.execute(
        "SELECT number, line FROM audit WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    ).fetchall()
