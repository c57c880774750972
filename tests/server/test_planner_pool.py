"""What planner processes are sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from harness import ROOT

from director.server import planner_pool
from director.server.roster import NodeRecord


def test_a_large_roster_goes_in_several_frames() -> None:
    facts = json.dumps({"x": 'y"' * (planner_pool.FRAME_BYTES // 20)})
    records = {f"n{number}": NodeRecord(f"n{number}", "k", facts=facts, online=True) for number in range(30)}
    frames = list(planner_pool._deltas([*records.items(), ("gone", None)]))
    assert len(frames) > 1 and max(map(len, frames)) < 2 * planner_pool.FRAME_BYTES
    sent = [node for frame in frames for node in json.loads(frame)["nodes"]]
    assert sent == [[name, True, {}, facts] for name in records]
    assert [name for frame in frames for name in json.loads(frame)["gone"]] == ["gone"]
    assert [json.loads(frame) for frame in planner_pool._deltas([])] == [{"nodes": [], "gone": [], "revoked": []}]


def test_only_a_plan_that_was_given_up_is_dropped(tmp_path: Path) -> None:
    script = Path(__file__).with_name("planner_pool.py")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "good": ["plan"], "refused": ["plan"], "given up": ["plan", "drop"],
        "after the end": ["closed", "refused"],
    }  # fmt: skip
