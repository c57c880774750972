"""The types of texts in templates, and names that are typed when first used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.language.types import Names, typed

TYPES: list[tuple[str, Any]] = [
    ("1", 1),
    ("-1", -1),
    ("0", 0),
    ("1.2", 1.2),
    ("1.0", 1.0),
    ("true", True),
    ("false", False),
    ("[1, 2]", [1, 2]),
    (" [1] ", [1]),
    ('{"a": {"b": [true, null]}}', {"a": {"b": [True, None]}}),
    ("{'a': True, 'b': None, 'c': (1,)}", {"a": True, "b": None, "c": (1,)}),
    ("[a, b c, 'd', 1, 1.10, NO, 0644, true]", ["a", "b c", "d", 1, "1.10", "NO", "0644", True]),
    ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
    ("[]", []),
    ("{}", {}),
    ('"5"', "5"),
    ("'true'", "true"),
    ('"a\\"b"', 'a"b'),
    ("1.10", "1.10"),
    ("0644", "0644"),
    ("NO", "NO"),
    ("True", "True"),
    ("12:30", "12:30"),
    ("1e5", "1e5"),
    ("1_000", "1_000"),
    ("-0", "-0"),
    ("+1", "+1"),
    ("nan", "nan"),
    ("1 ", "1 "),
    ("٣", "٣"),
    ("null", "null"),
    ("", ""),
    ("[1", "[1"),
    ("[1]x", "[1]x"),
    ("{1, 2", "{1, 2"),
    ("'a' and 'b'", "'a' and 'b'"),
    ("[" * 60 + "]" * 60, "[" * 60 + "]" * 60),
    ("[*a]", "[*a]"),
    ("[!!python/name:os.system x]", "[!!python/name:os.system x]"),
    ("1" * 400, "1" * 400),
]


@pytest.mark.parametrize(("text", "value"), TYPES)
def test_types(text: str, value: Any) -> None:
    found = typed(text)
    assert found == value
    assert isinstance(found, str) == isinstance(value, str) and isinstance(found, bool) == isinstance(value, bool)


@given(st.one_of(st.text("[]{}()'\",:0123456789.-eE truefalsn&*!\n\\", max_size=30), st.text(max_size=20)))
def test_any_text_has_a_value(text: str) -> None:
    value = typed(text)
    assert isinstance(value, str | bool | int | float | list | dict)
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert str(value) == text


def test_names_are_built_when_asked_for_and_then_kept() -> None:
    names = Names({"A": "[1]", "Q": "5"}, {"os": 1}, {"id": "n"}, {"n": {"V": "2", "W": 3}}, quoted={"Q"})
    assert names["A"] is names["A"] == [1]
    assert names["Q"] == "5"
    assert names["query"] == {"n": {"V": 2, "W": 3}}
    assert type(names["query"]["n"]) is dict
    assert set(names) == {"A", "Q", "facts", "node", "query"} and len(names) == 5
    assert "A" in names and "B" not in names
    with pytest.raises(KeyError):
        names["B"]
