"""A small file names the store and the key of a server's state folder, so that the loss of either is noticed.

Without it a server without its ledger or key would start as a new one: it would know no job and refuse all clients.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import ujson

from director import stores
from director.errors import StartError
from director.protocol import keys
from director.runtime.durable import sync_folder, write_private

log = logging.getLogger(__name__)

NAME = "identity.json"


def require(folder: str, store: str, new_ledger: bool) -> None:
    """Check that the folder is new or has the ledger and the key that it had.

    Args:
        new_ledger: move what is left of the ledger aside instead of raising.

    Raises:
        StartError: something is missing; the text says what, and what to do.
    """
    try:
        fault = _fault(folder, store)
        if fault and new_ledger:
            aside = _put_aside(folder)
            log.warning("%s: a new ledger is begun (--new-ledger)%s", fault, aside)
        elif new_ledger:
            log.warning("--new-ledger changes nothing: the ledger and its key are as they were; leave it out")
    except OSError as error:
        raise StartError(f"the state folder {folder} cannot be used: {error}") from error
    if fault and not new_ledger:
        raise StartError(
            f"{fault}; restore it from a backup, or begin anew with --new-ledger: jobs and nodes are forgotten then"
        )


def write(folder: str, store: str, key: str) -> None:
    """Write the file. Raises StartError: it cannot be written."""
    found = {"store": store, "key": key}
    try:
        if _read(folder) != found:
            write_private(os.path.join(folder, NAME), f"{ujson.dumps(found)}\n".encode())
    except OSError as error:
        raise StartError(f"the file {os.path.join(folder, NAME)} cannot be written: {error.strerror}") from error


def _fault(folder: str, store: str) -> str:
    """What does not match, "" when all does; a folder of an earlier version has no file and matches."""
    kept = _read(folder)
    key_file = os.path.join(folder, "curve.key")
    if not os.path.exists(key_file):
        return f"the key {key_file} is missing beside its ledger" if kept or stores.is_there(folder) else ""
    if not kept:
        return ""
    if kept.get("store") != store:
        return f"the ledger of {folder} is in the store {kept.get('store')}, not in {store} (--store)"
    if kept.get("key") != keys.load_or_make(folder).public:
        return f"the key {key_file} is another than that of the ledger beside it"
    if store == "sqlite" and not stores.is_there(folder):
        return f"the ledger {os.path.join(folder, stores.LEDGER)} is missing or empty"
    return ""


def _read(folder: str) -> dict[str, str]:
    try:
        found = ujson.loads(Path(folder, NAME).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"store": "a file that cannot be read"}
    return dict(found) if isinstance(found, dict) else {"store": "a file that cannot be read"}


def _put_aside(folder: str) -> str:
    """Move the files of the ledger to a new folder; the end of a sentence that names it, "" when there was no file."""
    found = list(Path(folder).glob(f"{stores.LEDGER}*"))
    aside = Path(folder, f"ledger.replaced-{time.strftime('%Y-%m-%dT%H.%M.%SZ', time.gmtime())}")
    if found:
        aside.mkdir(0o700, exist_ok=True)
        for path in found:
            path.rename(aside / path.name)
        sync_folder(folder)
    Path(folder, NAME).unlink(missing_ok=True)
    return f"; what was left of the old one is in {aside}" if found else ""
