"""The client: the least that enrols a node and runs its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from director.options import Settings


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    from gevent import monkey

    # os, signal and subprocess stay as they are: tasks are started by posix_spawn and watched by pidfd
    monkey.patch_all(os=False, signal=False, subprocess=False)
    from director.agent.main import serve

    return serve(settings)
