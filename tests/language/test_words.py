"""Raw words and pairs."""

from __future__ import annotations

import pytest
from language.tables import steps, yaml_step

from director.language import instructions, words
from director.language.braces import open_at_end, spans
from director.language.substitution import render_word

PLAIN = [
    ("a  b\tc", ["a", "b", "c"]),
    ('"a b" c', ['"a', 'b"', "c"]),
    ("{{ a b }} c{{ d }}e {% if x %}", ["{{ a b }}", "c{{ d }}e", "{% if x %}"]),
    ("{{ {'a': {'b': 1}} }} x", ["{{ {'a': {'b': 1}} }}", "x"]),
    ("{{ '}} ' }} x", ["{{ '}} ' }}", "x"]),
    ("{{ a b", ["{{", "a", "b"]),
    ("", []),
]
QUOTED = [
    ("a 'b c' \"d e\"f", ["a", "'b c'", '"d e"f']),
    ("a\\ b c", ["a\\ b", "c"]),
    ("A={{ x | default('a b') }} B", ["A={{ x | default('a b') }}", "B"]),
    ("'it''s' x", ["'it''s'", "x"]),
    ("a \\", ["a"]),
    ('"a\\" b" c', ['"a\\" b"', "c"]),
]


@pytest.mark.parametrize(("text", "expected"), PLAIN)
def test_plain(text: str, expected: list[str]) -> None:
    assert words.plain(text) == expected


@pytest.mark.parametrize(("text", "expected"), QUOTED)
def test_quoted(text: str, expected: list[str]) -> None:
    assert words.quoted(text) == expected


def test_each_form_splits_in_its_way() -> None:
    assert instructions.arguments(steps("COPY 'a b' /c")[0]) == ["'a", "b'", "/c"]
    assert instructions.arguments(steps('COPY ["a b", "/c"]')[0]) == ["a b", "/c"]
    assert instructions.arguments(yaml_step("- COPY: \"'a b' /c\"")) == ["'a b'", "/c"]
    with pytest.raises(ValueError, match="the quote ' is not closed in 'b c"):
        instructions.arguments(yaml_step("- COPY: a 'b c"))


PAIRS = [
    ("ENV A=1 B='x y' C=", [("A", "1"), ("B", "'x y'"), ("C", "")]),
    ("ENV A the rest  of it", [("A", "the rest  of it")]),
    ("ENV A b=c", [("A", "b=c")]),
    ("ENV A={{ x y }} B=2", [("A", "{{ x y }}"), ("B", "2")]),
    ("LABEL k= v=1", [("k", ""), ("v", "1")]),
    ("ARG A B=2", [("A", None), ("B", "2")]),
]
YAML_PAIRS = [
    ("- ARG: A 1 2", [("A", "1 2")]),
    ("- ARG: A=1 2", [("A", "1 2")]),
    ("- ARG: A", [("A", None)]),
    ("- ENV: A=1 B=2", [("A", "1"), ("B", "2")]),
    ("- ENV: A x y", [("A", "x y")]),
    ("- ENV: [A=1, 'B=x y']", [("A", "1"), ("B", "x y")]),
    ("- ENV: {A: 0644, B: }", [("A", "0644"), ("B", "")]),
]


@pytest.mark.parametrize(("text", "expected"), PAIRS)
def test_pairs(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert instructions.pairs(steps(text)[0]) == expected


@pytest.mark.parametrize(("text", "expected"), YAML_PAIRS)
def test_pairs_in_yaml(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert instructions.pairs(yaml_step(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ENV A", "ENV needs a key and a value"),
        ("LABEL a=b c", "LABEL has no = in 'c'"),
        ("ENV =a", "no name before ="),
    ],
)
def test_pairs_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        instructions.pairs(steps(text)[0])


def test_an_item_of_a_list_that_is_no_pair() -> None:
    assert instructions.pairs(yaml_step("- ARG: [A, B=1]")) == [("A", None), ("B", "1")]
    with pytest.raises(ValueError, match="ENV has no = in 'A'; expected KEY=VALUE"):
        instructions.pairs(yaml_step("- ENV: [A]"))


@pytest.mark.parametrize("value", ["it's", 'a "b" \\n', "a\\b", "", "'x'", "[\"a\", 'b']"])
def test_a_value_of_a_mapping_renders_to_itself(value: str) -> None:
    assert render_word(words.literal(value), {}, {}.get) == value


def test_a_value_of_a_mapping_keeps_braces_and_dollars() -> None:
    assert words.literal("it's {{ 'a' }} $X \\$Y") == "it\\'s {{ 'a' }} $X \\$Y"


@pytest.mark.parametrize(
    ("raw", "whole"), [("'5'", True), ('"5"', True), ("''", True), ("'a'b'c'", False), ("5", False), ("'", False)]
)
def test_whole_quotes(raw: str, whole: bool) -> None:
    assert words.whole_quoted(raw) is whole


def test_braces() -> None:
    text = "a {{ b }} {% c %} {{ '%}' }} {{- d -}} {{ e"
    assert [text[start:end] for start, end in spans(text)] == ["{{ b }}", "{% c %}", "{{ '%}' }}", "{{- d -}}"]
    assert open_at_end(text) and not open_at_end("{{ a }} {# b")
