"""Folding names and expanding them again."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.node_sets import FoldError, expand, fold, is_folded, natural


def unfold(text):
    """The names of all words, split at commas outside of brackets."""
    return [name for word in re.split(r",(?![^\[\]]*\])", text) if word for name in expand(word)]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["db1"], "db1"),
        ([f"web-{n:02}" for n in (*range(1, 39), 40)] + ["db1"], "db1,web-[01-38,40]"),
        (["a9", "a10", "a8"], "a[8-10]"),
        (["a08", "a09", "a10"], "a[08-10]"),
        (["a1", "a01"], "a[1,01]"),
        (["n1.dc1.example.org", "n2.dc1.example.org"], "n[1-2].dc1.example.org"),
        ([f"r{r}-n{n}" for r in (1, 2) for n in (1, 2, 3)], "r[1-2]-n[1-3]"),
        (["web", "web-1", "web-1", "web-2"], "web,web-[1-2]"),
        (["099", "100"], "[099-100]"),
    ],
)
def test_fold(names, text):
    assert fold(names) == text
    assert set(unfold(text)) == set(names)


def test_natural_order():
    assert natural(["a10", "a2", "a02", "b1", "a", "a2b"]) == ["a", "a02", "a2", "a2b", "a10", "b1"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web-[01-03,7]x", ["web-01x", "web-02x", "web-03x", "web-7x"]),
        ("[2,1]a", ["2a", "1a"]),
        ("a[1-2]b[1-2]", ["a1b1", "a1b2", "a2b1", "a2b2"]),
        ("a[098-101]", ["a098", "a099", "a100", "a101"]),
        ("a,b", ["a", "b"]),
    ],
)
def test_unfold_keeps_the_order_written(text, names):
    assert unfold(text) == names


@pytest.mark.parametrize(
    "text",
    [
        *("a[", "a]", "a[]", "a[1-]", "a[x]", "a[2-1]", "a[[1]]", "a[1-999999]", "a[1-400][1-400]", "a[1,]"),
        *("n[1-044]", "n[01-044]", "n[001-44]", "n[0-05]"),
    ],
)
def test_what_cannot_be_unfolded(text):
    with pytest.raises(FoldError):
        unfold(text)


def test_a_range_may_grow_wider_than_its_first_number():
    assert unfold("n[08-10]") == ["n08", "n09", "n10"]
    assert unfold("n[98-101]") == unfold("n[98-99,100-101]")
    assert unfold("n[0099-0101]") == ["n0099", "n0100", "n0101"]


def test_the_bound_is_for_the_whole_word():
    assert len(expand("a[1-3]b[1-2]", 6)) == 6
    with pytest.raises(FoldError):
        expand("a[1-3]b[1-2]", 5)


def test_is_folded():
    assert is_folded("a[1]") and is_folded("a[01-3,5]b[2]*")
    assert not any(map(is_folded, ["a", "a[x]", "a[1][x]", "a[", "a[]"]))


NAME = st.from_regex(r"\A[a-c]{0,2}[0-9]{1,3}[-.a]?[0-9]{0,2}\Z")


@given(st.lists(NAME | st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,30}\Z"), max_size=60))
def test_nothing_is_lost_or_added(names):
    unfolded = unfold(fold(names))
    assert len(unfolded) == len(set(names)) and set(unfolded) == set(names)


@given(st.text(alphabet="ab01-9[],", max_size=25))
def test_any_text_is_expanded_or_refused(text):
    try:
        names = expand(text, 1_000)
    except FoldError:
        return
    assert len(names) <= 1_000


@pytest.mark.timeout(30)
def test_ten_thousand_names_fold():
    names = [f"web-{n:05}.example.org" for n in range(10_000)]
    assert fold(names) == "web-[00000-09999].example.org"


def test_it_costs_no_heavy_import():
    code = "import sys, director.node_sets; print([m for m in ('typing', 'dataclasses', 'json') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-S", "-c", code], text=True) == "[]\n"
