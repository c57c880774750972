"""Frees space in the server's state folder: rows of purged jobs, free pages, blobs that no job needs.

It works in small steps beside the writer, so that purging a huge job does not delay other writes.
"""

from __future__ import annotations

import logging
import threading
import time

from director.errors import StoreError
from director.stores.contract import Store
from director.transfer.blob_lists import expanded
from director.transfer.blobs import BlobStore

log = logging.getLogger(__name__)

EVERY = 600.0  # seconds between two runs without a purge
PAUSE = 0.02  # seconds between two steps, for the writer


class Housekeeper:
    """Cleans after each purge and every ten minutes; `run` is its thread."""

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._work = threading.Event()

    def wake(self) -> None:
        """Clean now: jobs were purged."""
        self._work.set()

    def run(self) -> None:
        """Clean for ever; a failure is logged and tried again the next time."""
        while True:
            try:
                self.clean()
            except (StoreError, OSError) as error:
                log.warning("the state folder could not be cleaned: %s", error)
            self._work.wait(EVERY)
            self._work.clear()

    def clean(self) -> None:
        """Free all space that can be freed now. Raises StoreError, OSError."""
        while self._store.tidy():
            time.sleep(PAUSE)
        removed = self._blobs.sweep(set(expanded(self._store.blobs(), self._blobs)))
        if removed:
            log.info("removed %d blobs that no job needs", removed)
