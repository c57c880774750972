"""The server has the caller seal secrets: which nodes it names, in which batches, and which answers it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from director.api import sealing
from director.api.requests import Caller
from director.api.sealing import check_names, seal
from director.errors import UsageError
from director.library.secrets import Sealer
from director.protocol import keys
from director.protocol.sealing import decrypt, open_box
from director.server.roster import NodeRecord, Roster

PAIRS = {name: keys.with_opening(keys.new_pair()) for name in "abcde"}
META: dict[str, Any] = {
    "stages": [{"nodes": list("abcd")}, {"nodes": ["e"]}],
    "blocks": [{"first": 0, "last": 1, "stage": 0}, {"first": 2, "last": 2, "stage": 1}],
    "secrets": {"x": [[0, 2]], "y": [[2, 2]]},
}
VALUES = {"x": b"value of x", "y": b"value of y"}


class Sources:
    """Of a caller that answers as the command line does, changed by `spoil`."""

    def __init__(self, spoil: Any = lambda answer: answer) -> None:
        self.questions: list[Any] = []
        self._sealer, self._spoil = Sealer(VALUES), spoil

    def fetch(self, want: Any) -> Any:
        raise AssertionError(want)

    def seal(self, question: Any) -> Any:
        self.questions.append(question)
        return self._spoil(self._sealer.answer(question))


def roster(**left_out: str) -> Roster:
    made = Roster()
    for name, pair in PAIRS.items():
        made.add(NodeRecord(name, pair.public, sealing=left_out.get(name, pair.sealing[0])))
    return made


def sealed(sources: Sources, given: list[str] | None = None, found: Roster | None = None, **done: str) -> Any:
    caller = replace(Caller("ann", 1, 1, 1), sources=sources)
    return seal("job", META, done, ["x", "y"] if given is None else given, caller, found or roster())


def test_each_node_can_open_its_own_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 3)
    sources = Sources()
    found = sealed(sources)
    assert [(question["secrets"], len(question["keys"])) for question in sources.questions] == [
        ({"x": [[0, 1]]}, 3), ({"x": [[0, 1]]}, 1), ({"x": [[2, 2]], "y": [[2, 2]]}, 1),
    ]  # fmt: skip
    for name, pair in PAIRS.items():
        opened = open_box(map(keys.raw, pair.opening), found.boxes[name], "job")
        own = {"x", "y"} if name == "e" else {"x"}
        assert {n: decrypt(key, found.secrets[n]) for n, (key, _) in opened.items()} == {n: VALUES[n] for n in own}
    assert found.keys == {name: pair.sealing[0] for name, pair in PAIRS.items()}
    assert all(
        value not in part for part in (*found.boxes.values(), *found.secrets.values()) for value in VALUES.values()
    )


def test_a_job_whose_steps_had_succeeded_needs_none() -> None:
    done = dict.fromkeys("abcde", "111")
    assert sealed(Sources(), [], **done) is None


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UsageError, match="the secret y is not given; add --secret id=y,"):
        sealed(Sources(), ["x"])
    with pytest.raises(UsageError, match=r"^c cannot get secrets"):
        sealed(Sources(), found=roster(c=""))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: {},
        lambda answer: {**answer, "boxes": answer["boxes"][1:]},
        lambda answer: {**answer, "boxes": "x"},
        lambda answer: {**answer, "boxes": ["?" for _ in answer["boxes"]]},
        lambda answer: {**answer, "boxes": ["A" * 400_000 for _ in answer["boxes"]]},
        lambda answer: {**answer, "secrets": []},
        lambda answer: {**answer, "secrets": {}},
        lambda answer: {**answer, "secrets": {name: "A" * 100_000 for name in answer["secrets"]}},
    ],
)
def test_an_answer_that_no_command_line_gives_is_refused(spoil: Any) -> None:
    with pytest.raises(UsageError):
        sealed(Sources(spoil))


def test_what_the_ledger_cannot_keep_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BODY_LIMIT", 600)
    with pytest.raises(UsageError, match="submit them to fewer"):
        sealed(Sources())


def test_names_and_number_of_secrets_are_bounded() -> None:
    check_names([f"n{number}" for number in range(64)])
    with pytest.raises(UsageError, match="65 secrets; expected 64 at most"):
        check_names([f"n{number}" for number in range(65)])
    with pytest.raises(UsageError, match="expected a letter"):
        check_names(["a b"])
