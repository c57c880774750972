"""What a ledger's write-ahead log is given before SQLite opens it: a torn end is cut off, damage is kept and told.

Of a damaged log SQLite would take the transactions in front of the damage and overwrite the rest. Here the files are
copied first. Then either these transactions are taken, or, when the database holds later ones already, the database
without the log; a mixture of both is refused. What is lost is written to the file `-lost` before anything is changed
and stays there until the server has drawn its conclusions: a crash in between changes nothing.
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
    """Make the log beside the database whole; what was lost, also at an earlier call that was not `settle`d, or "".

    Raises: StoreError when no state of the ledger can be proven, OSError.
    """
    found = wal.read(database)
    if found is not None and (found.damaged or _is_known(database, found)):
        _mend(database, found)
    elif found is not None and found.header:
        _cut(database, found)
    return lost(database)


def _is_known(database: str, found: wal.Log) -> bool:
    """Whether the database has pages of a transaction that the log does not have whole: then it was no torn one."""
    return max(found.commits, default=0) > found.whole and wal.copied(found, database)[0] > found.whole


def lost(database: str) -> str:
    """What `mend` found lost and nobody has settled yet; "" for nothing."""
    with suppress(FileNotFoundError), open(f"{database}-lost", encoding="utf-8") as file:
        return file.read().strip()
    return ""


def settle(database: str) -> None:
    """The loss was told, and its consequences are on disk."""
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
    """The frame up to which the ledger can be had: with the log in front of the damage, or without the log.

    `least` and `most` are what `wal.copied` says of the database. When it holds nothing from behind the damage, it and
    the log make the state at the end of the whole part. When it holds more, the log's older pages must not be laid over
    it; it is a state of its own if all of its pages are of one transaction's end. Else there is none: None.
    """
    if least <= found.whole:
        return found.whole
    return max((number for number in found.commits if least <= number < most), default=None)


def _cut(database: str, found: wal.Log) -> None:
    """Nothing is left behind the last whole transaction, so that what is written next has nothing behind it."""
    path = f"{database}-wal"
    if os.path.getsize(path) > found.end_of(found.whole):
        with open(path, "r+b") as file:
            file.truncate(found.end_of(found.whole))
            os.fsync(file.fileno())


def _keep(database: str) -> str:
    """A folder with copies of the files as they are; made once for a log, however often the start is tried."""
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
