"""How many nodes a submission may reach without a question, and how many it must reach."""

from __future__ import annotations

from typing import Any

import pytest

from director.api.guard import Guard, UnconfirmedError
from director.errors import NoTargetError


def meta(nodes: int, reboots: tuple[int, ...] = (), first: int = 1) -> dict[str, Any]:
    """The meta of a plan with one stage and three steps, of which the last runs on one node."""
    names = [f"n{number}" for number in range(first, first + nodes)]
    blocks = [{"first": 0, "last": 1, "stage": 0}, {"first": 2, "last": 2, "stage": 0, "nodes": names[:1]}]
    return {"stages": [{"nodes": names}], "blocks": blocks, "reboots": list(reboots)}


def test_without_a_guard_everything_is_accepted():
    Guard().check([meta(1000, (0,))])


@pytest.mark.parametrize(
    ("above", "nodes", "asks"), [(100, 100, False), (100, 101, True), (0, 5000, False), (1, 2, True)]
)
def test_more_nodes_than_allowed_are_a_question(above: int, nodes: int, asks: bool):
    if not asks:
        return Guard(ask_above=above).check([meta(nodes)])
    with pytest.raises(UnconfirmedError) as caught:
        Guard(ask_above=above).check([meta(nodes)])
    assert (len(caught.value.question["nodes"]), caught.value.question["reboots"]) == (nodes, 0)


def test_a_node_of_two_files_counts_once():
    Guard(ask_above=10).check([meta(8), meta(8, first=3)])
    with pytest.raises(UnconfirmedError):
        Guard(ask_above=10).check([meta(8), meta(8, first=4)])


@pytest.mark.parametrize("above", [0, 100])
def test_more_than_ten_restarts_are_a_question(above: int):
    with pytest.raises(UnconfirmedError) as caught:
        Guard(ask_above=above).check([meta(11, (1,))])
    assert caught.value.question["reboots"] == 11
    Guard(ask_above=above).check([meta(10, (1,)), meta(30, (2,))])  # step 2 runs on one node


def test_another_number_than_expected_is_refused():
    Guard(expect=3).check([meta(3, (0,))])
    for nodes, said in ((4, "4 nodes now, not 3"), (1, "1 node now, not 3")):
        with pytest.raises(NoTargetError, match=said):
            Guard(expect=3).check([meta(nodes)])
