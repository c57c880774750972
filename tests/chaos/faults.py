"""What each kind of fault does and how it heals; one thread carries the schedule out."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

from . import damage
from .crowding import disperse
from .fleet import ChaosFleet
from .schedule import Fault

Heal = Callable[[], None]
GONE = (ProcessLookupError, OSError)


def carry_out(fleet: ChaosFleet, faults: list[Fault], start: float, tell: Callable[[str], None]) -> int:
    """Strike and heal in time order; how many faults were carried out. `start` is a monotonic time."""
    events: list[tuple[float, int, Fault]] = []
    for number, fault in enumerate(faults):
        events += [(fault.at, number, fault), (fault.at + fault.length, number, fault)]
    heals: dict[int, Heal] = {}
    done = 0
    for at, number, fault in sorted(events, key=lambda event: event[:2]):
        if number in heals:
            time.sleep(max(0.0, start + at - time.monotonic()))
            heals.pop(number)()
        elif at == fault.at and fault.kind not in fleet.left_out:
            time.sleep(max(0.0, start + at - time.monotonic()))
            tell(f"{time.monotonic() - start:6.1f} {fault.kind} {fault.victim} {fault.length:g} s {fault.detail or ''}")
            heals[number] = FAULTS[fault.kind](fleet, fault)
            done += 1
    return done


def heal_all(fleet: ChaosFleet) -> None:
    """Whatever is broken is well again: everything runs, the network is good, disks have room."""
    fleet.network(fleet.names)
    for name in ("server", *fleet.names):
        fleet.unfill(name)
        fleet.clocks[name].set(0)
    fleet.wake_all()
    for name in ("server", *fleet.names):
        fleet.ensure_up(name)


def kill(fleet: ChaosFleet, fault: Fault) -> Heal:
    """SIGKILL, and later a new start."""
    if fleet.is_up(fault.victim):
        fleet.kill(fault.victim)
    return lambda: fleet.ensure_up(fault.victim)


def term(fleet: ChaosFleet, fault: Fault) -> Heal:
    """SIGTERM, and a new start when it has ended."""
    process = fleet.processes[fault.victim]
    if process.poll() is None:
        process.terminate()

    def heal() -> None:
        with contextlib.suppress(Exception):
            process.wait(20)
        if process.poll() is None:
            raise AssertionError(f"{fault.victim} does not end within 20 s of SIGTERM")
        fleet.ensure_up(fault.victim)

    return heal


def stop(fleet: ChaosFleet, fault: Fault) -> Heal:
    """SIGSTOP and SIGCONT."""
    return _stop_pid(fleet.processes[fault.victim].pid if fleet.is_up(fault.victim) else None)


def _stop_pid(pid: int | None) -> Heal:
    if pid is not None:
        with contextlib.suppress(*GONE):
            os.kill(pid, signal.SIGSTOP)

    def heal() -> None:
        if pid is not None:
            with contextlib.suppress(*GONE):
                os.kill(pid, signal.SIGCONT)

    return heal


def kill_worker(fleet: ChaosFleet, fault: Fault) -> Heal:
    """SIGKILL to a worker; the server starts another one."""
    pid = fleet.worker(fault.kind.partition("-")[2])
    if pid is not None:
        with contextlib.suppress(*GONE):
            os.kill(pid, signal.SIGKILL)
    return lambda: None


def stop_worker(fleet: ChaosFleet, fault: Fault) -> Heal:
    """SIGSTOP and SIGCONT to a worker."""
    return _stop_pid(fleet.worker(fault.kind.partition("-")[2]))


def full_disk(fleet: ChaosFleet, fault: Fault) -> Heal:
    """Not a byte is free for a while."""
    fleet.fill(fault.victim)
    return lambda: fleet.unfill(fault.victim)


def old_folder(fleet: ChaosFleet, fault: Fault) -> Heal:
    """The state folder as it was before is put in place of the newer one, as from an old backup."""
    folder, backup = fleet.folder / fault.victim, fleet.folder / f"{fault.victim}.old"
    if os.path.ismount(folder):
        return kill(fleet, fault)
    if fleet.is_up(fault.victim):
        shutil.copytree(folder, backup, dirs_exist_ok=True, ignore=_vanishing, copy_function=_copy)
        time.sleep(0.3)  # the younger folder gets ahead
        fleet.kill(fault.victim)
        shutil.rmtree(folder)
        backup.rename(folder)
    return lambda: fleet.ensure_up(fault.victim)


def no_pids(fleet: ChaosFleet, fault: Fault) -> Heal:
    """No process and no thread can be started where the client is."""
    crowd = fleet.small.crowd(fault.length + 10, fleet.environment)

    def heal() -> None:
        disperse(crowd)
        fleet.ensure_up(fault.victim)  # one that could not go on has ended, and is started again as by systemd

    return heal


def _vanishing(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.endswith((".new", ".sock"))}


def _copy(source: str, target: str) -> Any:
    """Files of a running client may go while they are copied."""
    with contextlib.suppress(FileNotFoundError):
        return shutil.copy2(source, target)


def network(**fixed: Any) -> Callable[[ChaosFleet, Fault], Heal]:
    """A fault of one node's network."""

    def strike(fleet: ChaosFleet, fault: Fault) -> Heal:
        fleet.network([fault.victim], **fixed, **fault.detail)
        return lambda: fleet.network([fault.victim])

    return strike


def black_hole(fleet: ChaosFleet, fault: Fault) -> Heal:
    """Bytes stand still, both ways or one; afterwards they go on, or the connection is reset."""
    fleet.network([fault.victim], hole=fault.detail["way"], reset=fault.detail["reset"])
    return lambda: fleet.network([fault.victim])


def half_open(fleet: ChaosFleet, fault: Fault) -> Heal:
    """One side's connection is gone, the other side is not told."""
    fleet.network([fault.victim], half=fault.detail["way"])
    return lambda: fleet.network([fault.victim])


def partition(fleet: ChaosFleet, fault: Fault) -> Heal:
    """A third of the nodes is cut off, both ways."""
    names = fault.detail["nodes"]
    fleet.network(names, hole="both", reset=True)
    return lambda: fleet.network(names)


def clock(fleet: ChaosFleet, fault: Fault) -> Heal:
    """Somebody sets the clock, and later sets it right again."""
    fleet.clocks[fault.victim].set(fault.detail["ahead"])
    return lambda: fleet.clocks[fault.victim].set(0)


FAULTS: dict[str, Callable[[ChaosFleet, Fault], Heal]] = {
    "kill-client": kill,
    "term-client": term,
    "stop-client": stop,
    "long-stop-client": stop,
    "frozen-client": stop,
    "no-pids-client": no_pids,
    "old-folder": old_folder,
    "full-disk-client": full_disk,
    "kill-server": kill,
    "term-server": term,
    "stop-server": stop,
    "kill-ledger": kill_worker,
    "stop-ledger": stop_worker,
    "kill-planner": kill_worker,
    "stop-planner": stop_worker,
    "full-disk-server": full_disk,
    "damaged-log": damage.strike,
    "cut": network(cut=True),
    "black-hole": black_hole,
    "half-open": half_open,
    "delay": network(),
    "loss": network(),
    "throttle": network(),
    "partition": partition,
    "clock-server": clock,
    "clock-client": clock,
}
