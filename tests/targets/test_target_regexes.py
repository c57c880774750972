"""The regexes of targets match as `re` does, in linear time."""

import re
import resource
import subprocess
import sys

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
    "pattern",
    ["a**", "a++", "*a", "(", ")", "a)", "[", "[a", "\\", r"\1", "(?=a)", "(?<!a)", "a{3,2}", "a{1001}", "[z-a]"],
)
def test_refused(pattern):
    with pytest.raises(PatternError):
        Regex(pattern)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("pattern", ["(a|a)*b", "(.*)*x", "(a+)+b", ".*.*.*.*.*.*.*x", "(a?){90}a{90}b", "(a|b|ab)*c"])
def test_what_hangs_others_does_not_hang_this(pattern):
    assert not Regex(pattern).matches("a" * 253)


def test_memory_is_bounded():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    regex = Regex(".*a.{20}")
    for n in range(20_000):
        regex.matches(f"{n:021b}".replace("1", "a") * 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


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


@given(st.text(alphabet="ab1(|)*+?{},[]^$\\.-:", max_size=12), st.text(max_size=6))
def test_any_pattern_is_read_or_refused_in_one_line(pattern, name):
    try:
        assert Regex(pattern).matches(name) in (True, False)
    except PatternError as error:
        assert str(error).startswith("cannot be read: ") and "\n" not in str(error)


def test_texts_that_are_not_utf8():
    assert Regex("a.").matches("a\udc80")
    with pytest.raises(PatternError, match="UTF-8"):
        Regex("\udc80")


def test_the_library_says_nothing_of_its_own(capfd):
    with pytest.raises(PatternError):
        Regex("(")
    assert capfd.readouterr() == ("", "")


def test_the_library_is_imported_with_the_first_regex():
    code = (
        "import sys; from director.targets import parse; parse('a and label:b=c*'); print('re2' in sys.modules);"
        "parse('~a'); print('re2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
