"""Arbitrary texts raise documented errors only, in time linear in their length."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language.tables import VERBS, document

from director.errors import LanguageError, VerbError
from director.language import instructions, words
from director.language.substitution import check_word, render_text, render_word, used_names

PIECES = st.sampled_from(
    [
        *"abX1 \t\n\r\\\"'`$#=<>-.`,:[]{}&|*!%@?~/é\x85\u2028",
        "RUN ", "COPY ", "ENV ", "FROM ", " AS ", "ARG ",
        "<<E", "\nE\n", " \\\n", "--user", "--timeout=", "# escape=`\n",
        "{{", "}}", "{%", "%}", "{#", "${", ":-", "//", "- jobs:\n",
        "  - RUN: ", "- ", ">\n", "|\n", "&a", "*a", "? ", "---\n",
        "vars: {", "name: ", "\n    ", " if ", " for ", " endif ", "\0", "\ufeff", "\udc80",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@given(TEXTS, st.sampled_from(["containerfile", "yaml", "auto"]))
def test_reading(text: str, form: str) -> None:
    try:
        read = document(text, "f", form)
    except LanguageError as error:
        assert error.line >= 1 and error.file == "f" and "\n" not in str(error)
        assert error.line <= len(text.splitlines()) + 1
        return
    for stage in read.stages:
        for step in stage.instructions:
            assert step.verb in VERBS and step.line >= 1
            for split in (instructions.arguments, instructions.pairs):
                try:
                    split(step)
                except ValueError as error:
                    assert str(error)


@given(TEXTS)
def test_rendering(text: str) -> None:
    known = {"a": "1", "X": "$X {{ a }}"}
    for quotes in (True, False):
        try:
            assert isinstance(render_word(text, known, known.get, quotes=quotes), str)
        except VerbError as error:
            assert str(error)
    try:
        render_text(text, known)
    except VerbError as error:
        assert str(error)
    try:
        check_word(text)
        used_names(text)
    except ValueError as error:
        assert str(error)


@given(st.text(max_size=40))
def test_a_quoted_value_comes_out_as_it_is(value: str) -> None:
    plain = value.replace("\0", "").replace("$", "").replace("{", "")
    assert render_word(words.literal(plain), {}, {}.get) == plain


LONG = 50_000
HARD: list[Callable[[], object]] = [
    lambda: document("RUN " + "{{ " * LONG, "f"),
    lambda: document("RUN " + "{{ x \\\n" * LONG, "f"),
    lambda: document("RUN a\\\n" + "# c\n" * LONG, "f"),
    lambda: document("RUN " + "\\ " * LONG, "f"),
    lambda: document("RUN " + "<<a " * LONG, "f"),
    lambda: document("ENV A=" + "'" * LONG + " B=1", "f"),
    lambda: document("RUN " + "--mount=a{{ b " * LONG + "x", "f"),
    lambda: document("- " * LONG + "a", "f.yaml"),
    lambda: document("[" * LONG, "f.yaml"),
    lambda: document("- jobs:\n  - RUN: >\n" + "      \n" * LONG + "      a\n", "f.yaml"),
    lambda: document("- jobs: &a\n  - RUN: a\n" + "- jobs: *a\n" * 99, "f.yaml"),
    lambda: words.quoted("'" * LONG),
    lambda: render_word("${X//*a*b*c*d*/-}", {}, {"X": "a" * LONG}.get),
    lambda: render_word("${X##*a*a*a*a*b}", {}, {"X": "a" * LONG}.get),
    lambda: render_word("${X%%b*a*a*a*a*}", {}, {"X": "a" * LONG}.get),
    lambda: render_word("${X//a?/-}", {}, {"X": "a" * LONG}.get),
    lambda: render_word("${X:-" * 5000, {}, {}.get),
    lambda: render_word("{{ " + "(" * 5000 + "a", {"a": 1}, {}.get),
    lambda: render_word("{{ " + "[" * 5000 + "]" * 5000 + " }}", {"a": 1}, {}.get),
]


@pytest.mark.parametrize("work", HARD)
def test_hard_texts_take_little_time(work: Callable[[], object]) -> None:
    start = time.process_time()
    try:
        work()
    except (LanguageError, VerbError) as error:
        assert "\n" not in str(error)
    assert time.process_time() - start < 20, "a search that tries all ways does not end in a day"


@pytest.mark.parametrize(
    ("head", "line", "count"),
    [
        ("", "RUN --timeout=30 echo hello {{ A }}\n", 10_000),
        ("- jobs:\n", "  - RUN: echo hello\n", 10_000),
        ("", "RUN a \\\n  b\n", 5_000),
        ("", "COPY --chown=a:b src/{{ A }} 'x' /etc/\n", 10_000),
    ],
)
def test_the_work_of_reading_grows_with_the_number_of_lines(head: str, line: str, count: int) -> None:
    """Eight times the lines are eight times the work; were it their square, it would be 64 times the work."""

    def seconds(count: int) -> float:
        start = time.process_time()
        document(head + line * count, "f.yaml" if head else "f")
        return time.process_time() - start

    assert seconds(count) < 30 * min(seconds(count // 8) for _ in range(3))
