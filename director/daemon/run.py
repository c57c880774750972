"""Entry points of the server and the client: patch gevent first, import everything else afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from director.config.settings import Settings


def server(settings: Settings) -> int:
    """Run the server until SIGTERM or SIGINT; return the exit code."""
    _patch()
    from director.daemon.server import serve

    return serve(settings)


def client(settings: Settings) -> int:
    """Run the client until SIGTERM or SIGINT; return the exit code."""
    _patch()
    from director.daemon.client import serve

    return serve(settings)


def _patch() -> None:
    """Make blocking calls cooperative.

    Not those of `os`, `signal` and `subprocess`: workers start by plain Popen, tasks by posix_spawn, and both are
    watched through descriptors.
    """
    from gevent import monkey

    monkey.patch_all(os=False, signal=False, subprocess=False)
