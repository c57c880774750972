"""`scripts/chaos`: one run from the first client to the verdict."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import tasks_of

from director.errors import DirectorError
from director.library.connection import Connection

from . import checker
from .faults import carry_out, heal_all
from .fleet import LOST_AFTER, ChaosFleet
from .marks import Marks
from .schedule import schedule
from .watch import Watch
from .workload import Workload

PATIENCE = 150.0  # seconds after which every job must be final once all is well

EPILOG = """The schedule of faults is a pure function of --seed, --minutes and --nodes; --plan prints it. Faults that
need root (a full disk on a small tmpfs) are left out for others, and said so. The clock of the machine is not
touched: the server and each client have one of their own, which is set forward and back. Exit code 1 and the evidence
when a promise was broken; logs and marks are kept in --folder."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__, epilog=EPILOG)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults, the healing not counted (2)")
    parser.add_argument("--nodes", type=int, default=20)
    small = "the server on a small disk that fills up (yes, where a disk can be mounted)"
    parser.add_argument("--full-server-disk", action=argparse.BooleanOptionalAction, default=True, help=small)
    parser.add_argument("--plan", action="store_true", help="print the schedule of faults and run nothing")
    parser.add_argument("--folder", type=Path, help="for logs (default: a new one below /tmp)")
    return parser.parse_args(argv)


class Run:
    """One chaos run; `violations` is the verdict."""

    def __init__(self, args: argparse.Namespace, tell: Callable[[str], None]) -> None:
        self.args, self.tell = args, tell
        self.folder = args.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
        self.fleet = ChaosFleet(args.nodes, self.folder)
        self.faults = schedule(args.seed, args.minutes * 60, self.fleet.names)
        self.workload = Workload(self.fleet, args.seed)
        self.watch = Watch(self.fleet, self.workload, args.seed)
        self.violations: list[str] = []
        self.summary: dict[str, Any] = {}

    def go(self) -> None:
        """All of it; always ends what it started."""
        try:
            self._go()
        finally:
            self.fleet.close()

    def _go(self) -> None:
        fleet = self.fleet
        fleet.start(self.args.full_server_disk)
        self._warm_up()
        baseline = checker.usage(fleet)
        self.workload.start()
        self.watch.start()
        start = time.monotonic()
        try:
            struck = carry_out(fleet, self.faults, start, self.tell)
            time.sleep(max(0.0, start + self.args.minutes * 60 - time.monotonic()))
        finally:
            heal_all(fleet)
            self.workload.stop()
        self.tell("healed; waiting until every job is final")
        fleet.wait_online(fleet.names, 120)
        waited = self._wait_final()
        self.watch.stop()
        self._judge(baseline)
        self._sum_up(struck, waited)

    def _warm_up(self) -> None:
        """What every process loads once is loaded before the baseline."""
        source, place = self.fleet.source, f"{self.fleet.folder}/copies/$DIRECTOR_NODE/warm"
        text = f"RUN true\nCOPY {source} {place}\nCOPY --from={self.fleet.names[0]} {source} {place}-too\n"
        text += f"FETCH {place} {self.fleet.folder}/fetched\nQUERY CHAOS\nRUN true"
        self.fleet.run_json("--exec", text, "--wait", timeout=120)
        self.fleet.director("--list-jobs")

    def _ask(self, **request: Any) -> Any:
        with Connection(self.workload.settings) as link:
            return link.ask(request)

    def _wait_final(self) -> float:
        """Seconds until no job is open; a violation when that is too long."""
        start = time.monotonic()
        while True:
            rows = self._ask(do="list-jobs", ids=[], limit=0, state=[], since=None, node=None)
            left = [row["id"] for row in rows if not row["final"]]
            if not left:
                return time.monotonic() - start
            if time.monotonic() - start > PATIENCE:
                self.violations.append(f"not final {PATIENCE:g} s after all was well: {left}")
                return PATIENCE
            time.sleep(0.5)

    def _judge(self, baseline: checker.Usage) -> None:
        fleet, found = self.fleet, self.violations
        infos = {job.id: self._final_info(job.id) for job in list(self.workload.jobs.values())}
        marks = Marks.read(fleet.marks)
        for job in self.workload.jobs.values():
            info = infos[job.id]
            if info is not None:
                found += checker.check_job(job, info, marks)
            elif job.acknowledged and not fleet.damage.may_be_gone(job.id):
                found.append(f"{job.id}: acknowledged, and gone")
        known = {job for job, info in infos.items() if info} | fleet.damage.gone
        found += [f"{key}: ran, and no such job is known" for key in marks.starts if key[0] not in known]
        found += [f"a torn mark: {line}" for line in marks.torn]
        found += self.watch.violations + self.workload.errors + fleet.crashes + checker.leftovers(fleet)
        found += fleet.damage.wrong
        found += self._check_usage(baseline)
        self.infos = [info for info in infos.values() if info]

    def _check_usage(self, baseline: checker.Usage) -> list[str]:
        """Connections that died may take a few seconds to be given up."""
        for _ in range(30):
            self.after = checker.usage(self.fleet)
            wrong = checker.check_usage(baseline, self.after)
            if not wrong:
                break
            time.sleep(0.5)
        return wrong

    def _final_info(self, job: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = self._ask(do="job-info", id=job)
        except DirectorError:
            return None
        self.watch.compare(info)
        return info

    def _sum_up(self, struck: int, waited: float) -> None:
        tasks = Counter[str]()
        for info in self.infos:
            tasks.update({name: count for name, count in info["tasks"].items() if name != "total" and count})
        late = Counter(
            f"{task['state']}, then {task['late']['state']}"
            for info in self.infos for task in tasks_of(info) if task["late"]
        )  # fmt: skip
        self.summary = {
            "seed": self.args.seed, "faults": struck, "left_out": sorted(self.fleet.left_out),
            "jobs": len(self.infos), "acknowledged": sum(job.acknowledged for job in self.workload.jobs.values()),
            "cancelled": sum(job.cancelled for job in self.workload.jobs.values()),
            "resumed": sum(bool(job.resumes and job.acknowledged) for job in self.workload.jobs.values()),
            "refused": self.workload.refused, "tasks": dict(tasks), "late": dict(late), "samples": self.watch.samples,
            "shown_as_sent_again": self.watch.stepped_back, "final_after": round(waited, 1),
            **self.fleet.damage.summary(),
            "server": self.after.get("server"), "lost_after": LOST_AFTER, "violations": len(self.violations),
        }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when every promise was kept."""
    args = arguments(argv)
    if args.plan:
        for fault in schedule(args.seed, args.minutes * 60, [f"node-{i + 1}" for i in range(args.nodes)]):
            print(json.dumps(fault.as_json()))
        return 0
    run = Run(args, lambda text: print(text, file=sys.stderr, flush=True))
    try:
        run.go()
    except KeyboardInterrupt:
        return 130
    for text in run.violations[:100]:
        print(f"VIOLATION {text}")
    print(json.dumps(run.summary, indent=1))
    (run.folder / "verdict.json").write_text(json.dumps({**run.summary, "violations": run.violations}, indent=1))
    print(f"seed {args.seed}: {'VIOLATED' if run.violations else 'all promises kept'}; logs are in {run.folder}")
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
