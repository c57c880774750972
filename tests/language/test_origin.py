"""Which expressions of a shell's text print what other nodes said: judged from the syntax tree, by data."""

from __future__ import annotations

from typing import Any

import pytest

from director.errors import VerbError
from director.language import templating
from director.language.origin import Relayed
from director.language.substitution import render_shell
from director.language.types import Names

EVIL = "$(touch pwned)"
TEXTS = {
    "OWN": "a; b",
    "GIVEN": Relayed(EVIL),
    "LIST": Relayed(f'["{EVIL}"]'),
    "FINE": Relayed("a_b@c%d+e=f:g,h.i/j-k \t9"),
}
SAID = {"web": {"A": EVIL, "FINE": "fine", "LIST": f'["{EVIL}", "b"]'}}
STOPPED = [
    "{{ query.web.A }}",
    "{{ query['web']['A'] | upper }}",
    "{{ query.web.A | string | list | join }}",
    "{{ 'a' ~ query.web.A }}",
    "{{ 'a' + query.web.A }}",
    "{{ '%s' % query.web.A }}",
    "{{ '%s' | format(query.web.A) }}",
    "{{ '{}'.format(query.web.A) }}",
    "{{ ''.join([query.web.A]) }}",
    "{{ [query.web.A][0] }}",
    "{{ {'a': query}.a.web.A }}",
    "{{ query.values() | map(attribute='A') | first }}",
    "{{ query | dictsort | last | last | attr('get') }}",
    "{{ (query | attr('get'))('web').A }}",
    "{{ query }}",
    "{{ query | tojson }}",
    "{{ query.web.A if true else 'b' }}",
    "{{ 'b' if false else query.web.A }}",
    "{{ query.web.A | safe }}",
    "{{ query.web.A | quote | replace(\"'\", '') }}",
    "{{ query.web.A | quote ~ '' }}",
    "{{ query.web.LIST | map('quote') | join(' ') | replace(\"'\", '') }}",
    "{{ query.web.LIST | map('quote') | join(query.web.A) }}",
    "{{ ['a', 'b'] | map('quote') | join(*[query.web.A]) }}",
    "{{ query.web.LIST | map('string') | join(' ') }}",
    "{{ ['a'] | map('replace', 'a', query.web.A) | first }}",
    "{% set a = query.web.A %}{{ a }}",
    "{% set a = query %}{% set b = a.web %}{% set c, d = b.A, 1 %}{{ c }}",
    "{% set a %}{{ query.web.A }}{% endset %}{{ a }}",
    "{% set a | upper %}{{ query.web.A }}{% endset %}{{ a }}",
    "{{ query | length }}{% set a | replace('x', query.web.A) %}x{% endset %}{{ a }}",
    "{% if true %}{% set a = query.web.A %}{% endif %}{{ a }}",
    "{% with a = query.web.A %}{{ a }}{% endwith %}",
    "{% for name, values in query | dictsort %}{{ values.A }}{% endfor %}",
    "{% for a in [query.web] %}{% for b in [a] %}{{ b.A }}{% endfor %}{% endfor %}",
    "{% for a in ['', query.web.A] %}{% if loop.first %}{{ loop.nextitem }}{% endif %}{% endfor %}",
    "{% for a in ['x'] recursive %}{{ a }}{% if a == 'x' %}{{ loop([query.web.A]) }}{% endif %}{% endfor %}",
    "{% for a in 'x' recursive %}{% if a == 'x' %}{% set l = loop([query.web.A]) %}{% endif %}{{ a }}{% endfor %}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(query.web.A) }}",
    "{% macro m() %}{{ query.web.A }}{% endmacro %}{{ m() }}",
    "{% macro m(x=query.web.A) %}{{ x }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ varargs[0] }}{{ kwargs.a }}{% endmacro %}{{ m(query.web.A, a=1) }}",
    "{% macro m() %}{{ query.web.A }}{% endmacro %}{% macro n() %}{{ m() }}{% endmacro %}{% set f = n %}{{ f() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ query.web.A }}{% endcall %}",
    "{% macro m() %}{{ caller(query.web.A) }}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}",
    "{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}{% call m(query.web.A) %}{% endcall %}",
    "{% filter upper %}{{ query.web.A }}{% endfilter %}",
    "{% filter replace('x', query.web.A) %}x{% endfilter %}",
    "{% filter replace(\"'\", '') | trim %}{{ query.web.A | quote }}{% endfilter %}",
    "{% set n = namespace(a=query.web.A) %}{{ n.a }}",
    "{% set n = namespace() %}{% set n.a = query.web.A %}{{ n.a }}",
    "{% set n = namespace() %}{% set m = n %}{% set m.a = query.web.A %}{{ n.a }}",
    "{% macro m(x) %}{% set x.a = query.web.A %}{% endmacro %}{% set n = namespace() %}{{ m(n) }}{{ n.a }}",
    "{% set c = cycler(query.web.A, 'a') %}{{ c.next() }}",
    "{% block a %}{{ query.web.A }}{% endblock %}",
    "{% set a = 'x' %}{{ a }}{% set a = query.web.A %}{{ a }}",
    "{{ GIVEN }}",
    "{{ GIVEN | lower }}",
    "{{ LIST | first }}",
    "{% set a = GIVEN %}{{ a }}",
    "{{ OWN }}{{ GIVEN }}",
]
PRINTED = {
    "{{ query.web.FINE }}": "fine",
    "{{ FINE }}": str(TEXTS["FINE"]),
    "{{ query | length }} {{ query.web.A | length }}": "1 14",
    "{{ query.web.A == 'a' }}": "False",
    "{{ query.web.A | quote }}": f"'{EVIL}'",
    "{{ query.web.A | upper | quote }}": "'$(TOUCH PWNED)'",
    "{{ query.web.LIST | map('quote') | join(' ') }}": f"'{EVIL}' b",
    "{{ query.web.LIST | map('quote') | join }}": f"'{EVIL}'b",
    "{{ query.web.A | quote if query.web.A else query.web.B | quote }}": f"'{EVIL}'",
    "{% filter quote %}a {{ query.web.A }}{% endfilter %}": f"'a {EVIL}'",
    "{{ query.web.A | shell_code }}": EVIL,
    "{{ GIVEN | shell_code }}": EVIL,
    "{% if query.web.A %}; rm a{% endif %}": "; rm a",
    "{{ '; rm a' if query.web.A else '' }}": "; rm a",
    "{{ OWN }} {{ query.web.FINE }}": "a; b fine",
    "{% for a in ['; x', '& y'] %}{{ a }} {{ query.web.FINE }} {% endfor %}": "; x fine & y fine ",
    "{{ query.get('db', {}).get('A', '') }}": "",
    "{% set a = 'x;' %}{% set b = query %}{{ a }}": "x;",
    "{{ facts.a }}": "f;",
    "$GIVEN": "$GIVEN",
}


def shell(source: str, said: dict[str, Any] | None = None) -> str:
    """The shell's text of a node with these values."""
    return render_shell(source, Names(TEXTS, {"a": "f;"}, {}, SAID if said is None else said))


@pytest.mark.parametrize("source", STOPPED)
def test_a_value_that_a_shell_acts_on_is_not_printed(source: str) -> None:
    with pytest.raises(VerbError, match=r"what other nodes said \(.*\) has .*quote.*shell_code"):
        shell(source)


@pytest.mark.parametrize("source", PRINTED)
def test_what_is_plain_or_quoted_or_of_the_node_itself_is_printed(source: str) -> None:
    assert shell(source) == PRINTED[source]


@pytest.mark.parametrize("character", "\n\r\f\v\0;&|<>()$`\\\"'*?[]#~!{}^é\u00a0\u2028\u0660")
def test_no_other_character_is_plain(character: str) -> None:
    with pytest.raises(VerbError):
        shell("{{ query.web.A }}", {"web": {"A": f"a{character}"}})


def test_other_texts_are_not_restricted() -> None:
    assert "".join(templating.render("{{ query.web.A }}", {"query": SAID}, {})) == EVIL


@pytest.mark.parametrize("statement", ["import 'a' as a", "from 'a' import b", "include 'a'", "extends 'a'"])
def test_there_is_no_other_template(statement: str) -> None:
    with pytest.raises(VerbError, match="loader"):
        shell(f"{{% {statement} %}}{{{{ query }}}}")


def test_escapes_do_not_undo_quotes() -> None:
    with pytest.raises(VerbError, match="autoescape"):
        shell("{% autoescape true %}{{ query.web.A | quote }}{% endautoescape %}")
