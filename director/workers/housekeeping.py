"""What makes room in the server's state folder: rows of forgotten jobs, free pages, contents nobody needs.

All of it in small steps beside the writer, so that forgetting a huge job never keeps a small one waiting.
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

EVERY = 600.0  # seconds between two looks though nothing was forgotten
PAUSE = 0.02  # seconds for the writer between two steps


class Housekeeper:
    """Runs in a thread of its own; `stir` wakes it when jobs were forgotten."""

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._work = threading.Event()

    def stir(self) -> None:
        """Jobs were forgotten: there may be something to do."""
        self._work.set()

    def run(self) -> None:
        """For ever; what fails is tried again the next time."""
        while True:
            try:
                self.clean()
            except (StoreError, OSError) as error:
                log.warning("the state folder could not be cleaned: %s", error)
            self._work.wait(EVERY)
            self._work.clear()

    def clean(self) -> None:
        """All that is to do now."""
        while self._store.tidy():
            time.sleep(PAUSE)
        gone = self._blobs.sweep(set(expanded(self._store.blobs(), self._blobs)))
        if gone:
            log.info("removed %d contents that no job needs", gone)
