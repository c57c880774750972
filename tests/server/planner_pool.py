"""Plans of a real planner process, in a process patched like the server's; run by test_planner_pool.py.

python planner_pool.py FOLDER
"""

from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False)

import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Generator, Mapping  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from director.errors import DirectorError  # noqa: E402
from director.server.planner_pool import PlannerPool  # noqa: E402
from director.server.roster import NodeRecord, Roster  # noqa: E402
from director.workers.supervisor import WorkerDiedError  # noqa: E402


class GivenUp(Exception):
    """The submitter leaves before it has sent its files."""


class Sources:
    """Files of a submitter that leaves."""

    def fetch(self, want: Mapping[str, Any]) -> Generator[Any, None, None]:
        raise GivenUp


def frames_of(pool: PlannerPool, text: str) -> list[str]:
    """What the planner is sent for a plan: the first key of each frame."""
    (child,) = pool.children
    sent: list[str] = []
    send = child.send

    def note(header: Any, *more: Any) -> None:
        sent.append(next(iter(header)))
        send(header, *more)

    child.send = note  # type: ignore[method-assign]
    file = {"id": "j", "kind": "exec", "name": "exec", "form": "auto", "text": text, "folder": "/"}
    with contextlib.suppress(DirectorError, GivenUp):
        pool.plan({"file": file, "options": {}}, Sources())
    child.send = send  # type: ignore[method-assign]
    return sent


def after_the_end(pool: PlannerPool) -> list[str]:
    """What becomes of a descriptor and of a plan when no planner runs."""
    (child,) = pool.children
    with gevent.Timeout(120):
        while child.ready:
            gevent.sleep(0.01)
    fd, other = os.pipe()
    os.close(other)
    child.send({"source": 1}, b"", [fd])
    try:
        os.fstat(fd)
        return ["open"]
    except OSError:
        pass
    try:
        with child.request({"manual": "RUN"}):
            return ["sent"]
    except WorkerDiedError:
        return ["closed", "refused"]


def main(folder: str) -> None:
    roster = Roster()
    roster.add(NodeRecord("n", "k", online=True))
    settings = {"log_level": "warning", "log_format": "text", "blobs": f"{folder}/blobs", "verbs": f"{folder}/verbs"}
    pool = PlannerPool(1, settings, roster, sys.exit)
    assert pool.wait_ready(60)
    texts = {"good": "RUN true", "refused": "RNU true", "given up": "COPY a /b"}
    found: dict[str, Any] = {name: frames_of(pool, text) for name, text in texts.items()}
    pool.stop()
    print(json.dumps({**found, "after the end": after_the_end(pool)}))


main(sys.argv[1])
