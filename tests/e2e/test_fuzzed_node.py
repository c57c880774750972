"""An enrolled node that sends fuzzed messages over its own connection: no traceback, and the others go on.

FUZZED_LIVE sets how many; 100,000 were run by hand.
"""

from __future__ import annotations

import os

from fuzz import Fuzz
from harness import Fleet
from simulation.stranger import stranger

COUNT = int(os.environ.get("FUZZED_LIVE", "5000"))


def test_a_node_that_sends_noise_disturbs_nobody(fleet: Fleet) -> None:
    fleet.start_client("well")
    fleet.wait_online(["well"])
    key = (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]
    with stranger(fleet.port, key) as bad:
        assert bad.enroll("bad") == ("enrolled", "")
        assert bad.hello("bad") is not None
        held = fleet.submit("--exec", "RUN true", "--target", "bad")
        assert bad.next("slice") is not None
        for seed in range(5):
            fuzz = Fuzz(seed, (held,), frozenset(("enroll",)))  # it would get another name
            for number in range(COUNT // 5):
                bad.socket.send(fuzz.frame())
                if number % 500 == 0:
                    bad.hello("bad")  # its session may have ended
            done = fleet.director("--exec", "RUN true", "--target", "well", "--wait")
            assert done.returncode == 0, done.stderr
        assert "Traceback" not in fleet.log("server")
        assert "could not be handled" not in fleet.log("server")
    assert fleet.director("--list-jobs").returncode == 0
