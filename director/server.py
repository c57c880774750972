"""The server: puts its rooms together, waits for the end, takes them apart in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from director.options import Settings


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    from gevent import monkey

    # os, signal and subprocess stay as they are: workers are started by plain Popen (docs/architecture.md)
    monkey.patch_all(os=False, signal=False, subprocess=False)
    from director.hub.main import serve

    return serve(settings)
