"""The scopes of a job: what a step sees of the stages before it and of the lanes beside it."""

from __future__ import annotations

from typing import Any

from director.agent.job_runner import JobScopes
from director.language.scope import Scope


def run(scopes: JobScopes, step: dict[str, Any], **effects: Any) -> Scope:
    """Enter a step and set values in it; the scope that it sees."""
    scope = scopes.enter(step)
    scope.apply(effects)
    scopes.keep(step, effects)
    return scope


def test_a_stage_begins_without_the_workdir_of_the_one_before_unless_it_inherits_it() -> None:
    scopes = JobScopes(Scope())
    run(scopes, {"stage": 0}, workdir="/srv", env={"A": "1"})
    scope = run(scopes, {"stage": 1})
    assert (scope.workdir, scope.env) == ("", {"A": "1"})
    assert run(scopes, {"stage": 2, "inherit": 0}).workdir == "/srv"


def test_lanes_do_not_see_each_other_and_are_joined_in_file_order() -> None:
    scopes = JobScopes(Scope())
    run(scopes, {"stage": 0}, arg={"X": "0"})
    first, second = ({"stage": lane, "group": 1, "lane": lane} for lane in (1, 2))
    run(scopes, second, arg={"X": "2"}, user="b")
    run(scopes, first, arg={"X": "1", "Y": "1"}, user="a")
    assert run(scopes, second).args == {"X": "2"}
    assert not scopes.ends_lanes(first)
    assert scopes.ends_lanes({"stage": 3}) and scopes.ends_lanes({"stage": 3, "group": 2, "lane": 1})
    scope = run(scopes, {"stage": 3})
    assert (scope.args, scope.user) == ({"X": "2", "Y": "1"}, "")
    assert run(scopes, {"stage": 4, "inherit": 1}).user == "a"
