"""Reading expressions: their parts, and the errors with position and message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from targets.fleet import small_fleet

from director.errors import NoTargetError
from director.targets import TargetSyntaxError, looks_like_image, parse, resolve
from director.targets.expressions import And, Fact, Label, Members, Name, Not, Or, number_of


def test_precedence_and_texts():
    expr = parse("a or not b and c, (d)")
    assert isinstance(expr, Or) and [part.text for part in expr.operands] == ["a", "not b and c", "d"]
    both = expr.operands[1]
    assert isinstance(both, And) and isinstance(both.operands[0], Not)


def test_terms():
    assert parse("web-1") == Name("web-1", "web-1")
    assert parse("a[1-2]") == Members("a[1-2]", ("a1", "a2"))
    assert parse("label:a.b/c=1") == Label("label:a.b/c=1", "a.b/c", "1")
    assert parse("fact:m==1K") == Fact("fact:m==1K", "m", "=", "1K", 1024)
    assert parse("label:x='a,b (c)'").value == "a,b (c)"
    assert parse(r'label:x="a \"b\" \\ \d"').value == 'a "b" \\ \\d'
    assert parse("label:x=[1").value == "[1"


@pytest.mark.parametrize(
    ("expr", "position", "said"),
    [
        ("", 0, "expected a target"),
        ("web 01", 4, "expected and, or, a comma"),
        ("a AND b", 2, "did you mean and?"),
        ("(a", 2, "or )"),
        ("a)", 1, ") is not expected"),
        ("a,,b", 2, "expected a target"),
        ("a,", 2, "expected a target"),
        ("not", 3, "expected a target"),
        ("a not b", 2, "not is not expected"),
        ("label:", 6, "name of a label"),
        ("label:x=", 8, "label's value"),
        ("label:x!=y", 7, "not label:KEY=VALUE"),
        ("fact:x", 6, "expected one of"),
        ("fact:x> and a", 12, "a is not expected"),
        ("fact:=1", 5, "name of a fact"),
        ("~", 1, "expected a regex"),
        ("~(a", 1, "the regex cannot be read: missing )"),
        ("db1,~a**", 5, "repetition"),
        ("~(?=a)", 1, "(?="),
        (r"~(a)\1", 1, "escape"),
        ("label:a=~(", 9, "the regex cannot be read"),
        ("fact:a!=~", 9, "expected a regex"),
        ("label:a=[z-a]*", 8, "ends before it begins"),
        ("fact:a=" + "*" * 1001, 7, "longer than 1000"),
        (",".join(["~a"] * 251), 751, "more than 250 regexes"),
        ("n[1-044]", 0, "numbers of two widths"),
        ("~a{1,90}{2}", 1, "repetition"),
        ("~(a{900}){900}", 1, "repetition"),
        ("~(((a{9}){9}){9}){9}", 1, "the regex cannot be read"),
        ("~[z-a]", 1, "character class range"),
        ("~" + "a" * 501, 1, "longer than 500"),
        ("web-[1-", 4, "not closed"),
        ("web-[1 2]", 4, "not closed"),
        ("web-]", 4, "not closed"),
        ("web-[5-1]", 0, "ends before it begins"),
        ("[1-400][1-400]", 0, "more than 100000"),
        ("a[1-99999],b[1-99999]", 11, "more than"),
        ("last", 0, "reserved"),
        ("x/y", 0, "'/'"),
        ("x/*", 0, "characters that no name has"),
        ("-a", 0, "begin with a letter"),
        ("'a", 0, "quote is not closed"),
        ("'and'", 0, "reserved"),
        ("(" * 60 + "a" + ")" * 60, 50, "levels"),
        ("not " * 60 + "a", 200, "levels"),
        ("a," * 600_000, 1_000_000, "longer than"),
    ],
)
def test_refused(expr, position, said):
    with pytest.raises(TargetSyntaxError) as caught:
        parse(expr)
    assert said in str(caught.value)
    assert caught.value.position == position and caught.value.exit_code == 2
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [("8", 8), ("8G", 8 << 30), ("8GiB", 8 << 30), ("8gb", 8 << 30), ("1.5K", 1536.0), ("7B", 7), ("-1", -1)],
)
def test_numbers(text, number):
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["", "G", "8 G", "8X", "1.", ".5", "1e3", "0x1", "8\n", "9" * 40])
def test_no_numbers(text):
    assert number_of(text) is None


@pytest.mark.parametrize(
    "text",
    ["scratch", "debian:12", "a/b", "docker.io/library/x", "x@sha256:0af", "localhost:5000/x", "web-01 or a:b"],
)
def test_images(text):
    assert looks_like_image(text)


@pytest.mark.parametrize(
    "text",
    [
        "web-01",
        "all",
        "label:a=b/c",
        "label:a.b/c=d",
        "fact:x>8G",
        "~a/b",
        "(web-1)",
        "label:x='a b/c'",
        "scratch1",
        "",
    ],
)
def test_no_images(text):
    assert not looks_like_image(text)


WORDS = ["web-01", "web-[01-03]", "web-*", "~web-(0|1)1", "label:tier=db", "fact:cpu.count>3", "all", "db1", "'db2'"]


def expressions():
    return st.recursive(
        st.sampled_from(WORDS),
        lambda inner: st.one_of(
            st.builds("{} and {}".format, inner, inner),
            st.builds("{} or {}".format, inner, inner),
            st.builds("{},{}".format, inner, inner),
            st.builds("not {}".format, inner),
            st.builds("({})".format, inner),
        ),
        max_leaves=8,
    )


@given(expressions())
def test_every_sentence_of_the_grammar_is_read_and_resolved(text):
    fleet = small_fleet()
    parse(text)
    try:
        resolved = resolve([text], fleet)
    except NoTargetError:
        return
    assert len(set(resolved.nodes)) == len(resolved.nodes) > 0
    assert set(resolved.nodes) <= set(fleet.names())


@given(expressions(), expressions())
def test_the_laws_of_sets_hold(one, other):
    def nodes(text):
        try:
            return set(resolve([text], small_fleet()).nodes)
        except NoTargetError:
            return set()

    assert nodes(f"({one}) or ({other})") == nodes(one) | nodes(other)
    assert nodes(f"all and ({one}) and ({other})") == nodes(f"all and ({one})") & nodes(f"all and ({other})")


SIGNS = st.sampled_from(
    [*"()[],~\"'=<>!*?-0159\\{}|.$^ ", "and ", "or ", "not ", "label:", "fact:", "web-01", "db", "G"]
)


@given(st.lists(SIGNS, max_size=20).map("".join) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        resolve([text], small_fleet())
    except TargetSyntaxError as error:
        assert 0 <= error.position <= len(text)
        assert str(error).isprintable()
    except NoTargetError as error:
        assert str(error).isprintable()
    looks_like_image(text)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ['label:a="', '"', '~"'])
def test_an_open_quote_with_many_backslashes_does_not_hang(text):
    with pytest.raises(TargetSyntaxError, match="a quote is not closed"):
        parse(text + "\\" * 10_000)
