"""What was sealed for the nodes of open jobs: kept until the job is final; each node that asks gets its own.

The server can open none of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ujson

from director import states as st
from director.errors import DirectorError
from director.protocol import messages
from director.protocol.sealing import from_text
from director.runtime.greenlets import spawn
from director.scheduler.job_state import JobRun
from director.scheduler.secret_steps import names_of
from director.server.ledger_client import LedgerClient, Op
from director.server.roster import NodeRecord, Send
from director.server.unread import is_behind

MEMORY = 64 * 1024 * 1024  # bytes of the jobs that are kept in memory; others are read from the ledger
ASKED = 1000  # reads of the ledger at a time; more requests are dropped, and the nodes repeat them


@dataclass(slots=True)
class Sealed:
    """Of one job.

    Attributes:
        secrets: by name, encrypted.
        boxes: by node.
        keys: by node, the public key that its box was sealed with.
    """

    secrets: dict[str, bytes] = field(default_factory=dict)
    boxes: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return sum(map(len, self.secrets.values())) + sum(map(len, self.boxes.values()))

    def operation(self, job: str) -> Op:
        """What records it in the ledger, behind the acceptance of the job."""
        fields = {"job": job, "names": list(self.secrets), "nodes": list(self.boxes)}
        return "seal", fields, [*self.secrets.values(), *self.boxes.values()]


class SealedSecrets:
    """Keeps what was sealed, and handles `secrets_get`.

    Args:
        runs: the open jobs.
    """

    def __init__(self, runs: Mapping[str, JobRun], ledger: LedgerClient, send: Send) -> None:
        self._runs, self._ledger, self._send = runs, ledger, send
        self._kept: OrderedDict[str, Sealed] = OrderedDict()
        self._size = self._asked = 0

    def keep(self, job: str, sealed: Sealed) -> None:
        """Keep what belongs to a job that was accepted; the oldest jobs give their room."""
        self._kept[job] = sealed
        self._size += sealed.size
        while self._size > MEMORY and len(self._kept) > 1:
            self._size -= self._kept.popitem(last=False)[1].size

    def forget(self, job: str) -> None:
        """The job is over."""
        sealed = self._kept.pop(job, None)
        self._size -= sealed.size if sealed is not None else 0

    def get(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Answer a node with its box, and with the encrypted secrets of its steps."""
        if is_behind(record):
            return
        job, step = fields["job"], fields["step"]
        run = self._runs.get(job)
        node = run.nodes.get(record.name) if run is not None else None
        if run is None or node is None or not node.has(step) or step >= node.cursor:
            self._refuse(record, job, step, "this node was not given this step")
            return
        names = names_of(run.meta, node.states, st.NONE)
        sealed = self._kept.get(job)
        if sealed is not None:
            self._answer(record, job, step, sealed.boxes.get(record.name, b""), sealed.secrets, names)
        elif self._asked < ASKED:
            self._asked += 1
            spawn("sealed secrets", self._read, record, job, step, names, vital=False)

    def _read(self, record: NodeRecord, job: str, step: int, names: list[str]) -> None:
        try:
            found = ujson.loads(self._ledger.ask("sealed", job=job, node=record.name))
        except DirectorError as error:
            self._refuse(record, job, step, f"the secrets cannot be read now: {error}")
            return
        finally:
            self._asked -= 1
        secrets = {name: from_text(text) for name, text in found["secrets"].items()}
        self._answer(record, job, step, from_text(found["box"]), secrets, names)

    def _answer(
        self, record: NodeRecord, job: str, step: int, box: bytes, secrets: Mapping[str, bytes], names: list[str]
    ) -> None:
        if not box:
            self._refuse(record, job, step, "nothing was sealed for this node")
            return
        given = [name for name in names if name in secrets]
        header = messages.encode("secrets", job=job, step=step, error="", names=given)
        parts = box, *(secrets[name] for name in given)
        record.pieces += sum(map(len, parts))
        self._send(record, header, parts)

    def _refuse(self, record: NodeRecord, job: str, step: int, why: str) -> None:
        self._send(record, messages.encode("secrets", job=job, step=step, error=why, names=[]), ())
