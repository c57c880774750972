"""What must be true before there is a ZeroMQ context."""

from __future__ import annotations

import subprocess
import sys

import pytest
import zmq

from director.errors import StartError
from director.protocol.context import require_library


@pytest.mark.parametrize("version", [(4, 3, 4), (4, 2, 5), (3, 99, 99)])
def test_an_old_library_is_refused_with_the_remedy(version: tuple[int, int, int]) -> None:
    with pytest.raises(StartError, match=r"is too old, expected 4\.3\.5 or newer: pip install"):
        require_library(version)


@pytest.mark.parametrize("version", [(4, 3, 5), (4, 4, 0), (5, 0, 0), zmq.zmq_version_info()])
def test_a_library_without_known_holes_is_taken(version: tuple[int, int, int]) -> None:
    require_library(version)


FIRST_ID = """
import sys, zmq
from director.protocol.context import new_context
context = new_context()
router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
dealer.connect(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")
dealer.send(b"hello")
print(router.recv_multipart()[0].hex())
context.destroy(linger=0)
"""


def test_nobody_can_predict_which_routing_ids_a_router_gives() -> None:
    """A stranger that chose the id of the next connection made libzmq abort the server."""
    ids = {subprocess.check_output([sys.executable, "-c", FIRST_ID], timeout=120) for _ in range(2)}
    assert len(ids) == 2 and all(id.startswith(b"00") for id in ids)
