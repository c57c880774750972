"""Fetches what was sealed for this node, and opens it with the node's key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import WeakSet

from director.agent.job_runner import JobRunner
from director.agent.job_secrets import JobSecrets
from director.agent.node_transfer import NodeTransfer, Remaining
from director.errors import VerbError
from director.protocol import keys
from director.protocol.sealing import decrypt, open_box


class SecretKeeper:
    """One for the whole client.

    Args:
        opening: the node's secret keys, in Z85, the newest first.
    """

    def __init__(self, transfer: NodeTransfer, opening: Callable[[], Sequence[str]]) -> None:
        self._transfer, self._opening = transfer, opening
        self._known: WeakSet[JobSecrets] = WeakSet()

    def open(self, job: JobRunner, step: int, remaining: Remaining) -> None:
        """Get the secrets of a job, once. Raises VerbError: they cannot be had or opened; LateError."""
        if job.secrets.opened:
            return
        names, (box, *ciphers) = self._transfer.secrets(job.id, step, remaining)
        try:
            found = open_box(map(keys.raw, self._opening()), box, job.id)
            values = {
                name: (decrypt(found[name][0], cipher), found[name][1])
                for name, cipher in zip(names, ciphers, strict=True)
            }
        except KeyError as error:
            raise VerbError(f"the secret {error} was not sealed for this node") from None
        except VerbError as error:
            raise VerbError(f"the secrets of this job cannot be opened: {error}") from None
        self.watch(job.secrets)
        job.secrets.give(values)

    def watch(self, secrets: JobSecrets) -> None:
        """Mask these values in logs as well, as long as they are in memory."""
        self._known.add(secrets)

    def hide(self, text: str) -> str:
        """A line of the log with all values masked."""
        for secrets in list(self._known):
            text = secrets.hide(text)
        return text
