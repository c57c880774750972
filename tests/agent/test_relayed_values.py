"""A node knows which of its ARGs and ENVs are made of what other nodes said, whatever sets them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import ujson

from director import verbs
from director.agent.local_node import LocalNode
from director.agent.profile import Profile
from director.agent.step_cache import StepCache
from director.agent.step_engine import keep_values
from director.language.origin import Relayed
from director.language.scope import Scope
from director.verbs.base import success

SET = {
    "arg": {"T": "a", "MAP": '{"a": 1}', "LIST": "[1]", "OWN": "b"},
    "env": {"E": "c"},
    "declare": ["T", "MAP", "LIST"],
}
SAID = {**SET, "relayed": ["T", "MAP", "LIST", "E"], "query": {"web": {"X": "a"}}}
Steps = tuple[str, ...]


def scope_after(steps: Steps, folder: Path, own: bool = False, said: dict[str, Any] = SAID) -> Scope:
    """The scope of a job after the instructions, as each would be after its way over the wire."""
    scope = Scope(remembered={"OLD": Relayed("d"), "NEW": "e"} if said is SAID else {})
    scope.apply(said)
    for text in steps:
        word, _, rest = text.partition(" ")
        flags, rest = ({"stdout-arg": "OUT"}, rest[7:]) if rest.startswith("--keep ") else ({}, rest)
        body: dict[str, Any] = {"cmd": rest}
        if word in ("ARG", "EXTEND", "ENV"):
            pairs = [part.partition("=") for part in re.split(r" (?=[A-Z]+=)", rest)]
            body = {"pairs": [[name, value if sep else None] for name, sep, value in pairs], "extend": word == "EXTEND"}
        elif word == "CACHEFILE":
            (folder / "values").write_text(rest)
            body = {"text": str(folder / "values")}
        elif word == "LABEL":
            body = {"pairs": [rest.split("=")]}
        step = {"body": body, "flags": flags, **({"own": []} if own else {})}
        node = LocalNode("a", {}, {}, {b"HOME": b"/"}, "job", scope, step)
        if word in ("RUN", "QUERY"):
            node.shell(rest)
            outcome = success("out")
            node.hear() if word == "QUERY" else None
        else:
            outcome = verbs.load({"EXTEND": "ARG"}.get(word, word)).apply(body, {}, node)  # type: ignore[arg-type]
        keep_values(outcome, step, node)
        scope.apply(ujson.loads(ujson.dumps(outcome.effects)))
    return scope


@pytest.mark.parametrize(
    ("steps", "name", "relayed"),
    [
        (("ARG A=1",), "A", False),
        (("ARG A={{ OWN }}",), "A", False),
        (("ARG A={{ query.web.X }}",), "A", True),
        (("ARG A={{ T | upper }}",), "A", True),
        (("ARG A=${T:-x}",), "A", True),
        (("ARG A=$E",), "A", True),
        (("ENV A=$E",), "A", True),
        (("ENV A={{ OLD }}",), "A", True),
        (("ENV A={{ NEW }}",), "A", False),
        (("ARG A={% if query %}1{% endif %}",), "A", True),
        (("ARG A={{ query.web.X }} B=1",), "B", True),
        (("ARG A={{ T }}", "ENV B={{ A }}", "ARG C=$B"), "C", True),
        (("ARG T=1",), "T", False),
        (("ENV T=1",), "T", False),
        (("ENV T=1", "ARG T", "ARG A={{ T }}"), "A", False),
        (("ARG T",), "T", True),
        (("ARG OLD",), "OLD", True),
        (("ARG NEW",), "NEW", False),
        (("EXTEND LIST=[2]",), "LIST", True),
        (("EXTEND MAP={b:2}",), "MAP", True),
        (("EXTEND T=1",), "T", False),
        (("CACHEFILE MAP: {b: 2}\nN: 1",), "MAP", True),
        (("CACHEFILE MAP: {b: 2}\nN: 1",), "N", False),
        (("CACHEFILE LIST: [2]",), "LIST", False),
        (("RUN --keep date",), "OUT", False),
        (("RUN --keep echo {{ query.web.X }}",), "OUT", True),
        (("RUN --keep echo {{ OWN }}",), "OUT", False),
        (('RUN --keep echo "$E"',), "OUT", True),
        (("RUN --keep printenv E",), "OUT", True),
        (("RUN --keep echo query",), "OUT", False),
        (("QUERY --keep X",), "OUT", True),
    ],
)
def test_where_a_value_comes_from(steps: Steps, name: str, relayed: bool, tmp_path: Path) -> None:
    assert isinstance(scope_after(steps, tmp_path).texts()[name], Relayed) is relayed


def test_an_arg_below_an_env_stays_relayed(tmp_path: Path) -> None:
    scope = scope_after(("ENV T=1", "ARG T"), tmp_path)
    assert not isinstance(scope.texts()["T"], Relayed) and isinstance(scope.args["T"], Relayed)


def test_an_own_verb_may_use_all_values(tmp_path: Path) -> None:
    for said in (SAID, {"query": SAID["query"]}, {"arg": {"B": "2"}, "relayed": ["B"]}):
        assert isinstance(scope_after(("ARG A=1",), tmp_path, True, said).args["A"], Relayed)
    assert not isinstance(scope_after(("ARG A=1",), tmp_path, True, SET).args["A"], Relayed)


def test_a_lane_knows_it_too(tmp_path: Path) -> None:
    assert isinstance(scope_after((), tmp_path).copy().texts()["T"], Relayed)


def test_it_is_remembered(tmp_path: Path) -> None:
    def opened() -> Profile:
        return Profile(str(tmp_path), {}, StepCache(str(tmp_path / "chains")))

    opened().apply(SAID)
    assert [name for name, text in opened().args().items() if isinstance(text, Relayed)] == ["T", "MAP", "LIST"]
    opened().apply({"arg": {"T": "own"}})
    assert not isinstance(opened().args()["T"], Relayed)
    assert opened().as_message()["args"] == {**SET["arg"], "T": "own"}
