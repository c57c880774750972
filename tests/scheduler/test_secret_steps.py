"""Which nodes need which secrets, for which steps."""

from __future__ import annotations

from typing import Any

from director.scheduler.secret_steps import names_of, needs_of

META: dict[str, Any] = {
    "stages": [{"nodes": ["a", "b"]}, {"nodes": ["b", "c"]}],
    "blocks": [
        {"first": 0, "last": 2, "stage": 0, "nodes": None},
        {"first": 3, "last": 3, "stage": 1, "nodes": ["b"], "choose": ["b", "c"]},
        {"first": 4, "last": 5, "stage": 1, "nodes": None},
    ],
    "secrets": {"x": [[1, 1], [3, 3]], "y": [[2, 2]]},
}


def needs(**done: str) -> list[Any]:
    return list(needs_of(META, done))


def test_each_node_gets_those_of_its_own_steps_and_of_those_it_may_be_chosen_for() -> None:
    assert needs() == [
        ({"x": [[1, 1]], "y": [[2, 2]]}, ["a"]),
        ({"x": [[1, 1], [3, 3]], "y": [[2, 2]]}, ["b"]),
        ({"x": [[3, 3]]}, ["c"]),
    ]


def test_what_had_succeeded_needs_none() -> None:
    assert needs(a="111000", b="110000", c="000000") == [
        ({"x": [[3, 3]], "y": [[2, 2]]}, ["b"]),
        ({"x": [[3, 3]]}, ["c"]),
    ]
    assert list(needs_of({**META, "secrets": {}}, {})) == []


def test_the_secrets_of_a_node_by_its_states() -> None:
    assert names_of(META, b"QQQ---", ord("-")) == ["x", "y"]
    assert names_of(META, b"---SQQ", ord("-")) == ["x"]
