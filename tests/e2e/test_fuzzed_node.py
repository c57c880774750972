"""Enrolled nodes that send fuzzed messages over their own connections: no traceback, and the others go on.

FUZZED_LIVE sets how many; 100,000 were run by hand.
"""

from __future__ import annotations

import os

from fuzz import Fuzz
from harness import Fleet
from simulation.stranger import stranger

COUNT = int(os.environ.get("FUZZED_LIVE", "5000"))
EACH = 1000  # of one node; its budget would end its connection after some more


def test_nodes_that_send_noise_disturb_nobody(fleet: Fleet) -> None:
    fleet.start_client("well")
    fleet.wait_online(["well"])
    for number in range(COUNT // EACH):
        send_noise(fleet, f"bad-{number}", seed=number)
        done = fleet.director("--exec", "RUN true", "--target", "well", "--wait")
        assert done.returncode == 0, done.stderr
    log = fleet.log("server")
    assert "Traceback" not in log and "could not be handled" not in log and "is cut off" not in log
    assert fleet.director("--list-jobs").returncode == 0


def send_noise(fleet: Fleet, name: str, seed: int) -> None:
    """Enroll a node that sends `EACH` messages, and return when the server has read them all."""
    key = (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]
    with stranger(fleet.port, key) as bad:
        assert bad.enroll(name) == ("enrolled", "")
        assert bad.hello(name) is not None
        held = fleet.submit("--exec", "RUN true", "--target", name)
        assert bad.next("slice") is not None
        fuzz = Fuzz(seed, (held,), frozenset(("enroll",)))  # it would get another name
        for number in range(EACH):
            bad.socket.send(fuzz.frame())
            if number % 250 == 0:
                bad.hello(name)  # its session may have ended
        assert bad.hello(name) is not None, "it was cut off, or the server does not read on"
