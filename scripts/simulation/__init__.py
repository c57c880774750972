"""The fleet simulator: clients that use the real protocol and only pretend to run their steps."""

from __future__ import annotations

import os

PER_PROCESS = 2500


def processes_for(clients: int) -> int:
    """How many processes simulate so many clients: one for each 2,500; from 1,000 on at least one for each core."""
    few = -(-clients // PER_PROCESS)
    return max(few, len(os.sched_getaffinity(0))) if clients >= 1000 else few
