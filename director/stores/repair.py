"""Repairs a ledger's write-ahead log before SQLite opens it: cuts off a torn end, copies and reports damage.

SQLite would read the transactions in front of the damage and overwrite the rest. Here the files are copied first. Then
the ledger is either the database with these transactions or, when the database holds later ones already, the database
without the log; a mixture of both is refused. The loss is written to the file `-lost` before anything is changed, and
stays there until the server has stored its consequences, so a crash in between changes nothing.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from datetime import datetime, timezone

from director.errors import StoreError
from director.runtime.durable import sync_folder, write_private
from director.stores import wal

log = logging.getLogger(__name__)


def mend(database: str) -> str:
    """Make the log beside the database whole; what was lost, now or at an earlier call without `settle`, or "".

    Raises:
        StoreError: no state of the ledger can be proven. OSError.
    """
    found = wal.read(database)
    if found is not None and (found.damaged or _is_known(database, found)):
        _mend(database, found)
    elif found is not None and found.header:
        _cut(database, found)
    return lost(database)


def _is_known(database: str, found: wal.Log) -> bool:
    """Whether the database has pages of a transaction that is not whole in the log: then it was not torn."""
    return max(found.commits, default=0) > found.whole and wal.copied(found, database)[0] > found.whole


def lost(database: str) -> str:
    """The loss that `mend` found, until `settle`; "" for none."""
    with suppress(FileNotFoundError), open(f"{database}-lost", encoding="utf-8") as file:
        return file.read().strip()
    return ""


def settle(database: str) -> None:
    """Remove the record of the loss: its consequences are on disk."""
    with suppress(FileNotFoundError):
        os.unlink(f"{database}-lost")
        sync_folder(os.path.dirname(database))


def _mend(database: str, found: wal.Log) -> None:
    kept = _keep(database)
    state = provable(found, *wal.copied(found, database))
    if state is None:
        raise StoreError(
            f"the log of the ledger {database} is damaged, and no state of it can be proven (copies are in {kept}); "
            "restore it from a backup, or move it away and start with --new-ledger"
        )
    count = sum(number > state for number in found.commits)
    text = f"the log of the ledger {database} was damaged; its last {count} transactions or more are lost"
    if count:
        write_private(f"{database}-lost", f"{text}\n".encode())
    else:
        text = f"the log of the ledger {database} was damaged; nothing is lost, as the ledger held all of it already"
    log.error("%s (frame %d of %d); copies of the damaged files are in %s",
              text, found.chain + 1, len(found.frames), kept)  # fmt: skip
    if state == found.whole and found.header:
        _cut(database, found)
    else:
        os.unlink(f"{database}-wal")
        sync_folder(os.path.dirname(database))


def provable(found: wal.Log, least: int, most: int) -> int | None:
    """The frame up to which a state of the ledger can be proven, None for no state.

    `least` and `most` come from `wal.copied`. When the database holds nothing from after the damage, it and the log
    make the state at the end of the whole part. When it holds more, the log's older pages must not replace its own;
    then it is a state without the log if all of its pages are of one transaction's end.
    """
    if least <= found.whole:
        return found.whole
    return max((number for number in found.commits if least <= number < most), default=None)


def _cut(database: str, found: wal.Log) -> None:
    """Cut off what follows the last whole transaction, so that nothing stands behind what is written next."""
    path = f"{database}-wal"
    if os.path.getsize(path) > found.end_of(found.whole):
        with open(path, "r+b") as file:
            file.truncate(found.end_of(found.whole))
            os.fsync(file.fileno())


def _keep(database: str) -> str:
    """A folder with copies of the files as they are; made once for a log, even if the start is tried again."""
    changed = datetime.fromtimestamp(os.path.getmtime(f"{database}-wal"), timezone.utc)
    folder = f"{os.path.splitext(database)[0]}.damaged-{changed:%Y-%m-%dT%H.%M.%S.%fZ}"
    if not os.path.isdir(folder):
        part = f"{folder}.part"
        shutil.rmtree(part, ignore_errors=True)
        os.mkdir(part, 0o700)
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                shutil.copy2(f"{database}{ending}", part)
        os.rename(part, folder)
        sync_folder(os.path.dirname(database))
    return folder
