"""What planners are told of the fleet."""

from __future__ import annotations

import json

from director.server import planner_pool
from director.server.roster import NodeRecord


def test_a_large_roster_goes_in_several_frames() -> None:
    facts = json.dumps({"x": 'y"' * (planner_pool.FRAME_BYTES // 20)})
    records = {f"n{number}": NodeRecord(f"n{number}", "k", facts=facts, online=True) for number in range(30)}
    frames = list(planner_pool._deltas([*records.items(), ("gone", None)]))
    assert len(frames) > 1 and max(map(len, frames)) < 2 * planner_pool.FRAME_BYTES
    told = [node for frame in frames for node in json.loads(frame)["nodes"]]
    assert told == [[name, True, {}, facts] for name in records]
    assert [name for frame in frames for name in json.loads(frame)["gone"]] == ["gone"]
    assert [json.loads(frame) for frame in planner_pool._deltas([])] == [{"nodes": [], "gone": []}]
