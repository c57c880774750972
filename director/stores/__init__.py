"""Stores, the engines behind the ledger: a contract, and SQLite in a file or in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from director.errors import UsageError

if TYPE_CHECKING:
    from director.stores.contract import Store


LEDGER = "ledger.sqlite"  # in the server's folder; files that belong to it have longer names


def open_store(url: str, folder: str) -> Store:
    """The store that the setting `--store` names; `folder` is for its files and must exist.

    Raises:
        UsageError: an unknown store.
        StoreError: it cannot be opened.
    """
    from director.stores.sqlite import SqliteStore

    if url == "sqlite":
        return SqliteStore(str(Path(folder) / LEDGER))
    if url == "memory:":
        return SqliteStore()
    raise UsageError(f"--store: unknown store {url!r}; expected one of: sqlite, memory:")


def is_there(folder: str) -> bool:
    """Whether the folder has a ledger file that is not empty."""
    path = Path(folder) / LEDGER
    return path.exists() and path.stat().st_size > 0
