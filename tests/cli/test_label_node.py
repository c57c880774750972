"""`--label-node -`: what its standard input may be."""

from __future__ import annotations

import pytest

from director.cli.labels import Changes, read
from director.errors import UsageError

GOOD: list[tuple[str, Changes]] = [
    ("a,x=1\n", {"a": {"x": "1"}}),
    ("a, x=1 , y= ,\r\n\r\nb\n", {"a": {"x": "1", "y": ""}, "b": {}}),
    ('a,"x=1, 2",y=a=b\na,z=3', {"a": {"x": "1, 2", "y": "a=b", "z": "3"}}),
    (' {"a": {"x": "1", "y": null, "z": ""}}', {"a": {"x": "1", "y": "", "z": ""}}),
]

BAD: list[tuple[str, str]] = [
    ("", "names no node"),
    ("{}", "names no node"),
    ("a,x=1\nb,x", "line 2 of standard input: 'x' is no label"),
    ("a,=1", "'=1' is no label"),
    ("x=1,a", "line 1 of standard input: expected a node's name first"),
    ('a,"x=1', "line 1 of standard input: "),
    ("{", "no JSON: "),
    ('{"a": 1}', "a: expected an object of labels"),
    ('{"a": {"x": 1}}', "a: the label x has no text"),
    ('{"a": ' * 10_000, "no JSON"),
]


@pytest.mark.parametrize(("text", "changes"), GOOD)
def test_readable(text: str, changes: Changes) -> None:
    assert read(text) == changes


@pytest.mark.parametrize(("text", "why"), BAD)
def test_unreadable(text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        read(text)
    assert why in str(error.value) and "\n" not in str(error.value)
