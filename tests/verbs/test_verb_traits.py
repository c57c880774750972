"""What other modules must know of a verb stands in its class: none of them names a verb."""

from __future__ import annotations

import ast

import pytest
import syntax

from director.errors import LanguageError
from director.language.instructions import Instruction, pairs
from director.language.reader import read
from director.verbs import ALIASES, VERBS
from director.verbs.base import Verb

# FROM is part of the grammar of a Directorfile; ARG and ENV are kinds of values where a plan shows what has changed
NAMED = {("language/containerfile.py", "FROM"), ("language/yaml_form.py", "FROM")}
NAMED |= {("config/table.py", "SHELL")}  # whose completion is printed
NAMED |= {("agent/step_engine.py", "ARG"), ("agent/step_engine.py", "ENV")}


@syntax.GROUP
def test_no_module_names_a_verb() -> None:
    names = {*VERBS, *ALIASES}
    found = set()
    for path, node in syntax.nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
            found.add((path.relative_to(syntax.PACKAGE).as_posix(), node.value))
    assert {(place, name) for place, name in found if not place.startswith("verbs/")} == NAMED


class Plain(Verb):
    name = "PILE"


class Full(Verb):
    name = "PILE"
    needs = "a thing"
    json_form = True
    heredocs = True
    mapping = True
    sets = "arg"


def one(text: str, verb: type[Verb], file: str = "exec") -> Instruction:
    (stage,) = read(text, file, verbs={"PILE": verb()}).stages
    return stage.instructions[0]


def test_the_argument_may_be_needed() -> None:
    assert one("PILE", Plain).text == ""
    with pytest.raises(LanguageError, match="exec:1: PILE has no argument; expected a thing"):
        one("PILE", Full)
    with pytest.raises(LanguageError, match=r"f\.yaml:1: PILE has no argument; expected a thing"):
        one("- jobs: [PILE: {}]", Full, "f.yaml")


def test_the_argument_may_be_a_json_list() -> None:
    assert one('PILE ["a b", "c"]', Full).args == ("a b", "c")
    assert one('PILE ["a b", "c"]', Plain).args is None


def test_the_argument_may_open_heredocs() -> None:
    assert one("PILE <<EOF\na\nEOF", Full).heredocs[0].content == "a\n"
    with pytest.raises(LanguageError, match="exec:2: unknown instruction"):
        one("PILE <<EOF\na\nEOF", Plain)


def test_the_argument_may_be_a_mapping() -> None:
    assert one("- jobs: [PILE: {a: 1}]", Full, "f.yaml").pairs == (("a", "1"),)
    with pytest.raises(LanguageError, match="the value of PILE is a mapping; expected a text or a list of words"):
        one("- jobs: [PILE: {a: 1}]", Plain, "f.yaml")


def test_a_verb_that_sets_args_may_stand_before_the_first_from() -> None:
    assert pairs(one("PILE a b=1", Full)) == [("a", None), ("b", "1")]
    assert read("PILE a\nFROM x\nPILE b", "exec", verbs={"PILE": Full()}).globals[0].text == "a"
    with pytest.raises(LanguageError, match="PILE is before the first FROM, where only ARG may be"):
        read("PILE a\nFROM x\nPILE b", "exec", verbs={"PILE": Plain()})
