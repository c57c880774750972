"""Globs: one dialect for targets, file names and `${X#p}`."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.globs import Glob, GlobError, compiled, escape, has_magic, shielded, translate, unshielded

BOTH = [
    ("", "", True),
    ("a*", "abc", True),
    ("a*c", "abcb", False),
    ("?", "", False),
    ("[a-c]x", "bx", True),
    ("[!a-c]", "d", True),
    ("[^a-c]", "b", False),
    ("[]a]", "]", True),
    ("[a-]", "-", True),
    (r"[\]a]", "]", True),
    (r"[a\-c]", "b", False),
    ("[a", "[a", True),
    (r"\*", "*", True),
    (r"\*", "a", False),
    (r"a\[b]", "a[b]", True),
    ("a\\", "a\\", True),
    ("a.b+", "a.b+", True),
    ("a.b", "axb", False),
]


@pytest.mark.parametrize(("pattern", "text", "fits"), BOTH)
def test_names_and_paths_are_matched_alike(pattern: str, text: str, fits: bool) -> None:
    assert bool(compiled(pattern)(text)) is fits
    assert bool(re.compile(translate(pattern), re.DOTALL).fullmatch(text)) is fits


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "a/b", False),
        ("?", "/", False),
        ("**", "a/b", True),
        ("**/c", "a/b/c", True),
        ("**/c", "c", True),
        ("a/**", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a**c", "ab/c", True),
        (r"\**", "*x", True),
    ],
)
def test_paths(pattern: str, text: str, fits: bool) -> None:
    assert bool(re.compile(translate(pattern), re.DOTALL).fullmatch(text)) is fits


@pytest.mark.parametrize("pattern", ["[z-a]", "a[b-a]*"])
def test_a_range_that_ends_before_it_begins_is_refused(pattern: str) -> None:
    for read in (compiled, translate):
        with pytest.raises(GlobError, match="ends before it begins"):
            read(pattern)


def test_a_glob_has_a_bound() -> None:
    with pytest.raises(GlobError, match="longer than 1000"):
        compiled("a" * 1001)
    with pytest.raises(GlobError, match="more than 500 stars"):
        Glob("*a" * 501)


@given(st.text(alphabet="ab.*?[]-!", max_size=10), st.text(alphabet="ab.[]-!\n", max_size=10))
def test_the_same_answer_as_fnmatch(pattern: str, text: str) -> None:
    try:
        assert bool(compiled(pattern)(text)) == fnmatchcase(text, pattern)
    except GlobError:
        assert "-" in pattern


@pytest.mark.timeout(30)
def test_many_stars_do_not_hang() -> None:
    assert not compiled("*a" * 400 + "b")("a" * 800)


@given(st.text(alphabet="ab*?[]\\{", max_size=8))
def test_what_comes_from_a_value_means_itself(value: str) -> None:
    marked = unshielded(shielded(value))
    assert has_magic(marked) == has_magic(value)
    assert Glob(escape(value)).prefix(value, True) == len(value)
    if "\\" not in value and value[:1] not in ("[", "{"):
        assert compiled(marked)(value) and not compiled(marked)(value + "x")


@pytest.mark.parametrize(
    ("pattern", "text", "longest", "end"),
    [
        ("*", "abc", False, 0),
        ("*", "abc", True, 3),
        ("*b", "abb", False, 2),
        ("*b", "abb", True, 3),
        ("?b*c*", "abxcxc", True, 6),
    ],
)
def test_globs(pattern: str, text: str, longest: bool, end: int) -> None:
    assert Glob(pattern).prefix(text, longest) == end


def test_empty_patterns_are_as_the_official_ones() -> None:
    assert Glob("").replace("xy", "-", every=False) == "-xy"
    assert Glob("").replace("xy", "-", every=True) == "-x-y-"
