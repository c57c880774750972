"""The fault `damaged-log`: a byte of the ledger's write-ahead log changes while the server is down.

What stands behind that byte is lost, and the promises are narrower then. `Damage` holds exactly how much: the ledger is
read by SQLite before and after the byte was changed. A job that is only in the first may be gone. A task that is open
in the second may become `lost`, and its job `failed`, whatever was shown of them. All else that was promised holds, for
these jobs as well: nothing runs twice, and nothing is shown that was not so. The server must say what it lost, and keep
copies of the files.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from director.stores import wal

if TYPE_CHECKING:
    from .fleet import ChaosFleet
    from .schedule import Fault

OPEN = frozenset(("queued", "running"))


class Damage:
    """What the faults of one run have taken.

    Attributes:
        gone: jobs that the server need not know any more.
        rewound: jobs that were open in the state that was left: their open tasks are lost.
        struck: how many logs were damaged.
        wrong: what the server should have done about it, and has not.
    """

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.rewound: set[str] = set()
        self.struck = 0
        self.wrong: list[str] = []

    def may_be_gone(self, job: str) -> bool:
        """Whether the job may be unknown."""
        return job in self.gone

    def may_be_lost(self, job: str) -> bool:
        """Whether final tasks of the job may be `lost` now, and the job `failed`."""
        return job in self.rewound

    def summary(self) -> dict[str, int]:
        """For the record of a run."""
        return {"logs_damaged": self.struck, "jobs_gone": len(self.gone), "jobs_rewound": len(self.rewound)}


def strike(fleet: ChaosFleet, fault: Fault) -> Callable[[], None]:
    """The server and its ledger end at one moment, as with their machine; then the byte changes."""
    ledger = Path(fleet.folder, "server", "server", "ledger.sqlite")
    crash(fleet)
    said = fleet.log("server").count("was damaged")
    struck = change_byte(fleet, ledger, random.Random(fault.detail["dice"]))

    def heal() -> None:
        fleet.ensure_up("server")
        if struck:
            check(fleet, ledger, said)

    return heal


def crash(fleet: ChaosFleet) -> None:
    """SIGKILL to the ledger and the server, so that neither does anything behind the other's end."""
    with contextlib.suppress(ProcessLookupError):
        fleet.kill("server", signal.SIGSTOP)
        for pid in fleet.workers("ledger"):
            os.kill(pid, signal.SIGKILL)
        fleet.kill("server")


def change_byte(fleet: ChaosFleet, ledger: Path, dice: random.Random) -> bool:
    """Flip a bit behind what the database holds already; False when there is no such place."""
    log = wal.read(str(ledger))
    first = wal.copied(log, str(ledger))[0] if log else 0
    if log is None or first >= log.whole:
        return False
    before = jobs_in(ledger)
    place = dice.randrange(log.end_of(first), log.end_of(log.whole))
    with open(f"{ledger}-wal", "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))
    after = jobs_in(ledger)
    fleet.damage.struck += 1
    fleet.damage.gone |= before.keys() - after.keys()
    fleet.damage.rewound |= {job for job, state in after.items() if state in OPEN}
    return True


def jobs_in(ledger: Path) -> dict[str, str]:
    """Every job and its state, by a copy."""
    with tempfile.TemporaryDirectory(dir=ledger.parent.parent.parent.parent) as folder:
        for ending in ("", "-wal"):
            shutil.copy(f"{ledger}{ending}", folder)
        with contextlib.closing(sqlite3.connect(Path(folder, ledger.name))) as db:
            return dict(db.execute("SELECT id, state FROM jobs"))


def check(fleet: ChaosFleet, ledger: Path, said: int) -> None:
    """The server has said what it lost and kept the files; they are removed, as the disk is small."""
    kept = list(ledger.parent.glob("ledger.damaged-*"))
    if not any((folder / "ledger.sqlite-wal").exists() for folder in kept):
        fleet.damage.wrong.append("the log was damaged, and no copies of the files are kept")
    if fleet.log("server").count("was damaged") <= said:
        fleet.damage.wrong.append("the log was damaged, and the server does not say so")
    for folder in kept:
        shutil.rmtree(folder)
