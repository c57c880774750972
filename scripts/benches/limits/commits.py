"""SQLite alone: rows a second that are durable when committed in groups; prints the rate.

    python -m benches.limits.commits FOLDER ROWS GROUP

WAL, synchronous FULL, one table with a primary key of job, node and step, short results: what any ledger pays.
"""

from __future__ import annotations

import sqlite3
import sys
import time

TABLE = "create table results(job text, node text, step int, row text, primary key(job, node, step)) without rowid"
ROW = '["S",0,1763850000.123456,1763850000.123456,0.001,0.002,1,null,0,0,0,null]'


def main() -> None:
    """Insert and print."""
    folder, rows, group = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    base = sqlite3.connect(f"{folder}/commits.db", isolation_level=None)
    base.execute("pragma journal_mode=wal")
    base.execute("pragma synchronous=full")
    base.execute(TABLE)
    began = time.perf_counter()
    for first in range(0, rows, group):
        base.execute("begin")
        base.executemany(
            "insert or replace into results values(?,?,?,?)",
            [("0123456789abcdef", f"sim-{n % 2000:05d}", n // 2000, ROW) for n in range(first, first + group)],
        )
        base.execute("commit")
    print(rows / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
