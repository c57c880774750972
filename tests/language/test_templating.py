"""The template engine: limits, the sandbox, and a template's text apart from its values."""

from __future__ import annotations

from typing import Any

import pytest

from director.errors import VerbError
from director.language import templating
from director.language.templating import Piece


def render(source: str, **values: Any) -> str:
    """The whole output."""
    return "".join(templating.render(source, values, {}))


def test_own_text_is_told_apart_from_values() -> None:
    pieces = templating.render("a{{ x }}b{% if x %}c{{ x }}{% endif %}", {"x": "v"}, {})
    assert [(str(piece), isinstance(piece, Piece)) for piece in pieces] == [
        ("a", True),
        ("v", False),
        ("b", True),
        ("c", True),
        ("v", False),
    ]


def test_no_value_can_pass_for_own_text() -> None:
    before, behind = templating._marks()
    assert before not in repr(templating.render("{{ x }}", {"x": "a"}, {}))
    guess = before[0] + "0" * 16 + before[-1] + "$X" + behind[0] + "0" * 16 + behind[-1]
    (piece,) = templating.render("{{ x }}", {"x": guess}, {})
    assert piece == guess and not isinstance(piece, Piece)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{# no comment #}", "{# no comment #}"),
        ("a\n", "a\n"),
        ("{% if 1 -%}  \n a{% endif %}", "a"),
        ("{{ [1, 2] | join(',') }}", "1,2"),
        ("{{ 'a-b'.replace('-', '+') }}{{ 'a' | replace('a', 'b') }}", "a+bb"),
        ("{{ '%05d|%s' % (3, 20261122) }}{{ 'x 99999999 %s' | format(1) }}", "00003|20261122x 99999999 1"),
        ("{{ '{:>3}|{}'.format(1, 9999999) }}", "  1|9999999"),
        ("{{ d.items }}{{ d.keys() | list }}", "i['items']"),
        ("{{ 'it is' | quote }}", "'it is'"),
        ("{{ range(3) | list }}", "[0, 1, 2]"),
    ],
)
def test_rendering(source: str, expected: str) -> None:
    assert render(source, d={"items": "i"}) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10000000 }}",
        "{{ 10000000 * [1] }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 'a'.center(99999999999) }}",
        "{{ 'a' | center(99999999999) }}",
        "{{ 'a' | indent(99999999999) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%*d' | format(1000000000, 1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 999999999) }}",
        "{{ 'abc'.replace('', big) }}",
        "{{ 'abc' | replace('', big) }}",
        "{{ range(100000000) | list }}",
        "{% for a in range(50000) %}{% for b in range(50000) %}{% endfor %}{% endfor %}",
        "{{ big }}{{ big }}",
        "{{ big + big }}",
    ],
)
def test_what_would_be_too_large_is_stopped(source: str) -> None:
    with pytest.raises(VerbError, match=r"larger than|at most|more than") as raised:
        render(source, big="x" * (templating.MAX_OUTPUT - 10))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ d.append(1) }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ f.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ lipsum.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__ }}",
    ],
)
def test_nothing_leaves_the_sandbox(source: str) -> None:
    with pytest.raises(VerbError):
        render(source, d=[], f=render)


def test_a_missing_name_is_named() -> None:
    with pytest.raises(VerbError, match="'nope' is undefined"):
        render("{{ nope }}")
    assert render("{{ nope | default('d') }}{{ nope is defined }}") == "dFalse"


def test_values_are_looked_up_only_when_used() -> None:
    class Lazy(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

    asked: list[str] = []
    assert "".join(templating.render("{{ a }}", Lazy(a="1", b="2"), {})) == "1"
    assert "a" in asked and "b" not in asked


def test_a_template_with_very_many_braces_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 20000 braces"):
        templating.check("{{a}}" * 20_001)


def test_lines_keep_their_ends() -> None:
    assert render("a\r\n{{ 1 }}\r\n") == "a\r\n1\r\n"
    assert render("a\n{{ 1 }}\n") == "a\n1\n"


def test_names() -> None:
    assert templating.names("{{ a.b }}{% for c in d %}{{ c }}{{ range(1) }}{% endfor %}") == {"a", "d"}
    with pytest.raises(ValueError, match="unexpected"):
        templating.names("{{ . }}")
