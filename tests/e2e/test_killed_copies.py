"""A COPY whose client or server is killed in its middle: old file or new file, nothing left half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import Fleet, wait_until

MIB = 1 << 20


@pytest.mark.parametrize("who", ["node-1", "server"])
def test_old_or_new_and_nothing_between(fleet: Fleet, tmp_path: Path, who: str) -> None:
    fleet.wait_online(fleet.start_clients(1))
    source, there = tmp_path / "source", tmp_path / "there"
    source.mkdir()
    there.mkdir()
    (there / "big").write_bytes(b"old")
    with open(source / "big", "wb") as file:
        for _ in range(200):
            file.write(os.urandom(MIB))
    for number in range(50):
        (source / f"small-{number}").write_text(f"content {number}")

    def under_way() -> bool:
        return any(path.stat().st_size > 5 * MIB for path in there.glob(".big.director-*"))

    job = fleet.submit("--exec", f"COPY {source} {there}")
    wait_until(under_way, "the file is on its way", every=0.001)
    fleet.kill(who)
    assert (there / "big").read_bytes() == b"old" or who == "server"
    fleet.restart(who)
    done = fleet.wait_job(job, timeout=300)
    assert done["state"] == ("success" if who == "server" else "failed")
    assert not [path for path in there.iterdir() if path.name.startswith(".")]
    if who == "server":
        assert sorted(os.listdir(there)) == sorted(os.listdir(source))
        assert (there / "big").read_bytes() == (source / "big").read_bytes()
    else:
        assert "removed" in fleet.log("node-1") and (there / "big").read_bytes() == b"old"
