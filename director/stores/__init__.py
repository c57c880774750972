"""Keepers of the ledger: a contract, memory and SQLite; a new one is a file and a row in `_KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from director.errors import UsageError

if TYPE_CHECKING:
    from director.stores.contract import Store


LEDGER = "ledger.sqlite"  # in the server's folder; files that belong to it have longer names


def _sqlite(folder: str) -> Store:
    from director.stores.sqlite import SqliteStore

    return SqliteStore(str(Path(folder) / LEDGER))


def _memory(folder: str) -> Store:
    from director.stores.memory import MemoryStore

    return MemoryStore()


_KINDS: dict[str, Callable[[str], Store]] = {"sqlite": _sqlite, "memory:": _memory}


def open_store(url: str, folder: str) -> Store:
    """The store that the setting `--store` names; `folder` is where it may keep files and must exist.

    Raises: UsageError for an unknown store, StoreError when it cannot be opened.
    """
    if url not in _KINDS:
        raise UsageError(f"--store: unknown store {url!r}; expected one of: {', '.join(_KINDS)}")
    return _KINDS[url](folder)


def is_there(folder: str) -> bool:
    """Whether a ledger file lies in the folder; one without a byte is none."""
    path = Path(folder) / LEDGER
    return path.exists() and path.stat().st_size > 0
