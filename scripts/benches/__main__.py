"""scripts/bench: measures the named rows and prints each at once."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from benches import document, fleet, machine
from benches.bench import SIZES, Bench
from benches.row import HEADER, Row, line

BENCHES = (
    "orchestration", "fanout", "simulated", "results", "idle-server", "reconnect", "cli", "history", "submissions",
    "secrets", "live", "client", "spawn", "parse", "files", "hostile",
)  # fmt: skip
APART = ("peers", "plots")  # only when named
DEEPEST = 107 - len("/director-bench-12345678/12345678/fleet/sock")  # the longest path a socket may have


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=["all"], metavar="NAME",
                        help=f"all, or some of: {' '.join((*BENCHES, *APART))}")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows, samples, machine and versions to FILE")
    parser.add_argument("--runs", type=int, default=0, help="take each figure so often (default: 5; with --quick 2)")
    parser.add_argument("--size", choices=SIZES, default="full", help=argparse.SUPPRESS)
    parser.add_argument(
        "--quick", dest="size", action="store_const", const="quick", default="full", help="a tenth of the fleet"
    )
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where state folders are made")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/performance.md")
    args = parser.parse_args(words)
    known = ("all", *BENCHES, *APART)
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"no such bench: {' '.join(unknown)}; there are {' '.join(known)}")
    if len(str(args.folder.absolute())) > DEEPEST:
        parser.error(f"--folder {args.folder} is too deep for UNIX sockets; name a shorter one")
    args.runs = args.runs or {"full": 5, "quick": 2, "tiny": 1}[args.size]
    return args


def measure(names: list[str], bench: Bench) -> Iterator[Row]:
    """The rows of these benches, one after another."""
    for name in dict.fromkeys(word for given in names for word in (BENCHES if given == "all" else [given])):
        fleet.LAGS.clear()
        yield from import_module(f"benches.{name.replace('-', '_')}").run(bench)
        if fleet.LAGS:
            turns = [1000 * busy for _, busy in fleet.LAGS]
            more = {"with_waiting_for_a_core": [1000 * lag for lag, _ in fleet.LAGS]}
            yield Row(name, "longest work of the server in one turn of its loop", max(turns), "ms", bar=50.0,
                      bar_on="figure", samples=turns, more=more)  # fmt: skip


def main() -> int:
    """Print the table; 1 when a bar was missed."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.warn_when_busy()
    folder = Path(tempfile.mkdtemp(prefix="director-bench-", dir=args.folder))
    about = machine.describe()
    rows: list[Row] = []
    print(line(HEADER))
    try:
        for row in measure(args.names, Bench(args.size, args.runs, folder)):
            rows.append(row)
            print(line(row.cells()), flush=True)
            if args.json:
                save(args.json, args, about, rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + ", ".join(f"{name} {value}" for name, value in about.items()))
    if args.docs:
        document.write_table(rows, about)
    return 1 if any(row.ok is False for row in rows) else 0


def save(path: Path, args: argparse.Namespace, about: dict[str, str], rows: list[Row]) -> None:
    """Everything measured so far, as JSON."""
    answer = {"size": args.size, "runs": args.runs, "machine": about, "rows": [row.as_dict() for row in rows]}
    path.write_text(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
