"""One pass of substitution: every form of `$X`, quotes, escapes and braces; results are not replaced again."""

from __future__ import annotations

import subprocess
import sys

import pytest
from harness import ROOT

from director.errors import VerbError
from director.language.substitution import check, check_word, render_text, render_word, used_names
from director.language.types import Names

EVIL = "$X ${X} {{ A }} {% if %} ' \" \\ * ` \0"
TEXTS = {"A": "1.2", "B": "true", "L": "[1,2]", "EVIL": EVIL}
NAMES = Names(
    TEXTS,
    {"os": {"id": "debian"}, "cpu": {"count": 4}},
    {"id": "n1", "labels": {"tier": "web", "items": "i"}},
    {"n1": {"V": "3"}},
)
ENV = {"X": "v", "E": "", "P": "a/b/c.tar.gz", "STAR": "*", "EVIL": EVIL, "1": "one"}

WORDS = [
    ("plain", "plain"),
    ("$X", "v"),
    ("${X}", "v"),
    ("a$X-b", "av-b"),
    ("$XY", ""),
    ("$1x", "onex"),
    ("$", "$"),
    ("a$ b", "a$ b"),
    ("${U:-d}", "d"),
    ("${E:-d}", "d"),
    ("${E-d}", ""),
    ("${U-d}", "d"),
    ("${X:+d}", "d"),
    ("${E:+d}", ""),
    ("${E+d}", "d"),
    ("${U+d}", ""),
    ("${X:?no}", "v"),
    ("${E?no}", ""),
    ("${P#*/}", "b/c.tar.gz"),
    ("${P##*/}", "c.tar.gz"),
    ("${P%.*}", "a/b/c.tar"),
    ("${P%%.*}", "a/b/c"),
    ("${P#?/}", "b/c.tar.gz"),
    ("${P#x}", "a/b/c.tar.gz"),
    ("${P/\\//-}", "a-b/c.tar.gz"),
    ("${P//\\//-}", "a-b-c.tar.gz"),
    ("${P//[a-z]/-}", "a/b/c.tar.gz"),
    ("${P/b*.}", None),
    ("${P/b*./}", "a/gz"),
    ("${P//?.tar/x}", "a/b/x.gz"),
    ("${U/a/b}", ""),
    ("${U:-${X:-y}}", "v"),
    ("${U:-${U:-'a b'}}", "a b"),
    ('${U:-"a}b"}', "a}b"),
    ("${U:-a\\}b}", "a}b"),
    ("'$X'", "$X"),
    ("\"$X 'q'\"", "v 'q'"),
    ("a'b'\"c\"d", "abcd"),
    ("\\$X", "$X"),
    ("\\\\$X", "\\v"),
    ("a\\ b", "a b"),
    ('"a\\nb\\"c\\\\"', 'a\\nb"c\\'),
    ("'a\\'", "a\\"),
    ("a\\", "a"),
    ("${STAR#$STAR}", ""),
    ("${P#$STAR}", "a/b/c.tar.gz"),
    ("${P#{{ '*' }}}", "a/b/c.tar.gz"),
    ("${P%'.gz'}", "a/b/c.tar"),
    ("{{ A }}-$X", "1.2-v"),
    ("${U:-{{ A }}}", "1.2"),
    ("'{{ A }}$X'", "1.2$X"),
    ('"{{ A }}$X"', "1.2v"),
    ("\\{{ A }}", "1.2"),
    ("{% if B %}$X{% else %}no{% endif %}", "v"),
    ("{% for i in L %}$X{{ i }}{% endfor %}", "v1v2"),
    ("{% set v = '$X' %}{{ v }}$X", "$Xv"),
    ("{% macro m(a) %}$X{{ a }}{% endmacro %}{{ m('$X') }}", "$X$X"),
    ("{# $X #}", "{# v #}"),
    ("{% raw %}{{ $X }}{% endraw %}", "{{ v }}"),
    ("{{ '{{' }}$X", "{{v"),
    ("{{ 'a b' | quote }}", "'a b'"),
    ("{{ facts.os.id }}{{ facts.cpu.count }}{{ node.labels.items }}{{ query.n1.V + 1 }}", "debian4i4"),
    ("{{ B }}{{ L }}{{ B == true }}{{ L[0] }}", "true[1,2]True1"),
    ("{% for B in L %}{{ B }}{% endfor %}", "12"),
]


@pytest.mark.parametrize(("raw", "expected"), WORDS)
def test_words(raw: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(VerbError):
            render_word(raw, NAMES, ENV.get)
        return
    assert render_word(raw, NAMES, ENV.get) == expected


@pytest.mark.parametrize("raw", ["$EVIL", '"$EVIL"', "{{ EVIL }}", "'{{ EVIL }}'", '"{{ EVIL }}"', "${U:-{{ EVIL }}}"])
def test_a_value_is_never_looked_at_again(raw: str) -> None:
    assert render_word(raw, NAMES, ENV.get) == EVIL
    assert render_word(f"$X{raw}$X", NAMES, ENV.get) == f"v{EVIL}v"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("${U:?needs $X}", "U: needs v"),
        ("${U?}", "U: is not set"),
        ("${E:?}", "E: is empty"),
        ("${X", "${X is not closed; expected }"),
        ("${X:-a", "${ } is not closed; expected }"),
        ("${P/a}", "${ } is not closed; expected /"),
        ("${}", "${ } has no name in it"),
        ("${:-a}", "${ } has no name in it"),
        ("${X!}", "${X!} is no form of $X"),
        ("${X=a}", "${X=} is no form of $X"),
        ("${X:#a}", "${X:#} is no form of $X"),
        ("${P#\\a}", "invalid escape \\a"),
        ("'a", "the quote ' is not closed"),
        ('"a', 'the quote " is not closed'),
        ("${U:-" * 40 + "}" * 40, "${ } are nested more than 32 deep"),
        ("{{ nope }}", "'nope' is undefined; expected an ARG, an ENV, facts, node or query"),
        ("{{ facts.nope }}", "'dict object' has no attribute 'nope'"),
        ("{{ 1 / 0 }}", "the template failed: ZeroDivisionError"),
        ("{{ a b }}", "the template cannot be read: expected token"),
    ],
)
def test_errors(raw: str, message: str) -> None:
    with pytest.raises(VerbError) as raised:
        render_word(raw, NAMES, ENV.get)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_backtick_escapes_where_it_was_asked_for() -> None:
    assert render_word("a`$X\\b`'", NAMES, ENV.get, escape="`") == "a$X\\b'"


def test_a_document_keeps_its_quotes() -> None:
    assert render_word("'$X' \"{{ A }}\" \\$X \\\\\n", NAMES, ENV.get, quotes=False) == "'v' \"1.2\" $X \\\n"


def test_raw_leaves_braces_as_they_are() -> None:
    assert render_word("'{{.Names}}'$X", NAMES, ENV.get, braces=False) == "{{.Names}}v"
    assert render_word("{{ A }}$X", NAMES, ENV.get, quotes=False, braces=False) == "{{ A }}v"


def test_a_text_for_a_shell_gets_its_braces_replaced_only() -> None:
    assert render_text("echo '{{ A }}' \"$X\" \\\n {{ EVIL }}", NAMES) == f"echo '1.2' \"$X\" \\\n {EVIL}"
    assert render_text("a\r\n{{ A }}\r\n", NAMES) == "a\r\n1.2\r\n"
    assert render_text("{{ A }}\n", {"A": 1}) == "1\n"


def test_names_that_are_used() -> None:
    text = "$X ${Y:-$Z} '$N' {{ A.b + B[C] }} {% set q = 1 %}{{ q }} {{ range(1) }}"
    assert used_names(text) == {"X", "Y", "Z", "A", "B", "C"}
    assert used_names("$X {{ A }}", dollars=False) == {"A"}
    with pytest.raises(ValueError, match="not closed"):
        used_names("${X")


@pytest.mark.parametrize(
    "raw", ["{{.Names}}", "{{", "{% if x %}", "{{ a b }}", "{{ x | nofilter }}", "{%", "{{ '" * 99]
)
def test_braces_that_do_not_parse_name_both_ways_out(raw: str) -> None:
    with pytest.raises(
        ValueError, match=r"the braces cannot be read.*--raw on the step.*heredoc with a quoted"
    ) as raised:
        check(f"podman ps --format '{raw}'")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("raw", ["a", "{{ a }}", "$X {", "{# a", "{% raw %}{{.Names}}{% endraw %}", "}} %}"])
def test_other_braces_pass(raw: str) -> None:
    check(raw)


def test_a_word_is_also_checked_for_quotes() -> None:
    check_word("'a'${X:?b}{{ ' }}' }}")
    with pytest.raises(ValueError, match="not closed"):
        check_word("it's {{ a }}")


def test_a_text_without_braces_loads_no_template_engine() -> None:
    code = (
        "import sys\nfrom director.language.reader import read\n"
        "from director.language.substitution import check, render_text, render_word, used_names\n"
        "from director.language.types import Names\n"
        "names = Names({'A': '[1]'}, {}, {}, {}); names['A']\n"
        "render_text('$X', names), render_word('\"$X\" ${Y:-z}', names, {}.get), check('$X'), used_names('$X')\n"
        "assert not {'jinja2', 'yaml'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
