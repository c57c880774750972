"""Director: asynchronous deployment and operations for the whole life of a data center."""

from __future__ import annotations

from director import errors

TYPE_CHECKING = False  # calls import no typing, which takes milliseconds
if TYPE_CHECKING:
    from typing import Any

    from director.library.client import Director
else:
    Any = object

__version__ = "0.1.0"
__all__ = ["connect", "errors"]


def connect(path: str | None = None, *, state_dir: str | None = None, timeout: float = 15.0) -> Director:
    """A server, for a program on its machine; see `director.library.client.Director` and docs/library.md.

    Raises:
        director.errors.NoServerError: no server answers.
        director.errors.NotPermittedError: this user may not use its socket.
    """
    from director.library.client import Director

    return Director(path, state_dir=state_dir, timeout=timeout)
