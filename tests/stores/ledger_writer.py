"""A process that applies batches and reports each on stdout until it is killed. Arguments: PATH FIRST."""

from __future__ import annotations

import os
import sys

from ledger_ops import accept, done, range_end, result, results

from director.stores.sqlite import SqliteStore


def main(path: str, first: int) -> None:
    store = SqliteStore(path)
    n = first
    while True:
        job = f"j{n:06}"
        rows = [result(step, "S", b"o" * 300) for step in range(40)]
        store.apply([accept(job, count=60), results(job, "a", *rows)])
        ended = [range_end(job, "a", 40, 59), range_end(job, "b", 0, 59)]
        store.apply([*ended, done(job, "failed", counts={"total": 120})])
        if n % 5 == 4:
            store.apply([("purge_jobs", {"ids": [job]})])
        os.write(1, f"{n}\n".encode())
        n += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
