"""The regexes of targets: the same answers as `re`, and no pattern that hangs."""

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.targets.regexes import PatternError, Regex


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("web", "web", True),
        ("web", "web1", False),
        ("^web$", "web", True),
        ("^a|b$", "b", True),
        ("(?i)WEB", "web", True),
        (r"[^a-c]\d+", "x12", True),
        (r"[]a]+", "]a", True),
        (r"a{2}", "aa", True),
        (r"a{2,}", "aaaa", True),
        (r"a{,2}", "aaa", False),
        (r"a{x}", "a{x}", True),
        (r"(?:ab|c)*?", "abcab", True),
        (r"\.\-", ".-", True),
        ("()", "", True),
        ("(a|)b", "b", True),
    ],
)
def test_matches(pattern, name, fits):
    assert Regex(pattern).matches(name) is fits


@pytest.mark.parametrize(
    "pattern", ["a**", "a++", "*a", "(", ")", "a)", "[", "[a", "\\", r"\1", r"\b", "(?P<a>x)", "a{3,2}"]
)
def test_refused(pattern):
    with pytest.raises(PatternError):
        Regex(pattern)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("pattern", ["(a|a)*b", "(.*)*x", "(a+)+b", ".*.*.*.*.*.*.*x", "(a?){90}a{90}b", "(a|b|ab)*c"])
def test_what_hangs_others_does_not_hang_this(pattern):
    assert not Regex(pattern).matches("a" * 253)


def test_memory_is_bounded():
    regex = Regex(".*a.{12}")
    for n in range(3_000):
        regex.matches(f"{n:013b}".replace("1", "a") * 2)
    assert len(regex._known) < 5_300


PATTERN = st.recursive(
    st.sampled_from(["a", "b", "1", ".", r"\d", r"\w", "[ab]", "[^a]", r"\.", ""]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("(?:{})*".format, inner),
        st.builds("({})?".format, inner),
        st.builds("({})+".format, inner),
        st.builds("({}){{1,2}}".format, inner),
    ),
    max_leaves=6,
)


@given(PATTERN, st.text(alphabet="ab1.", max_size=8))
def test_the_same_answer_as_re(pattern, name):
    assert Regex(pattern).matches(name) == (re.compile(pattern).fullmatch(name) is not None)


@given(st.text(alphabet="ab1(|)*+?{},[]^$\\.-:", max_size=12), st.text(alphabet="ab1.", max_size=6))
def test_any_pattern_is_refused_or_means_what_it_means_to_re(pattern, name):
    try:
        regex = Regex(pattern)
    except PatternError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regex.matches(name) == (re.compile(pattern).fullmatch(name) is not None)
