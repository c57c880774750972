"""A Directorfile's lines, flags, JSON forms, heredocs and stages, each by a small text."""

from __future__ import annotations

import pytest
from language.tables import document, steps

from director.language.flags import Unrendered, misplaced, resolve
from director.language.instructions import Heredoc
from director.verbs.base import Flag

LINES = [
    ("RUN a", ["a"], [1]),
    ("run\ta", ["a"], [1]),
    ("RUN a \\\n  b", ["a   b"], [1]),
    ("RUN a \\  \n# comment\n\n  # another\nb\nRUN c", ["a b", "c"], [1, 6]),
    ("# escape=`\nRUN a `\nb \\\nRUN c", ["a b \\", "c"], [2, 4]),
    ("#!/usr/bin/director\n# escape=`\nRUN a", ["a"], [3]),
    ("# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=`\nRUN a`\nb", ["ab"], [4]),
    ("# a comment\n# escape=`\n# escape=`\nRUN a", ["a"], [4]),
    ("RUN a \\\\\nRUN b", ["a \\\\", "b"], [1, 2]),
    ("\\\nRUN a", ["a"], [1]),
    ("RUN a \\", ["a"], [1]),
    ("RUN a # b", ["a # b"], [1]),
    ("\ufeffRUN a\r\nRUN b \\\r\nc\r\n", ["a", "b c"], [1, 2]),
    ("RUN echo '{{ a \\\n# b }}' \\\n# comment\nc", ["echo '{{ a # b }}' c"], [1]),
]


@pytest.mark.parametrize(("text", "texts", "lines"), LINES)
def test_lines(text: str, texts: list[str], lines: list[int]) -> None:
    found = steps(text)
    assert [step.text for step in found] == texts
    assert [step.line for step in found] == lines


FLAGS = [
    ("RUN --timeout=1m30s a", {"timeout": 90.0}, "a"),
    ("RUN --timeout 30 a --user b", {"timeout": 30.0}, "a --user b"),
    ("RUN --skip-cache --raw=false a", {"skip-cache": True, "raw": False}, "a"),
    ("RUN --ok-codes 0,2 --retries=3 a", {"ok-codes": [0, 2], "retry": 3}, "a"),
    ("RUN --name='a b' --user=\"c d\" e", {"name": "a b", "user": "c d"}, "e"),
    ("RUN --name 'a b' -- --user c", {"name": "a b"}, "--user c"),
    ("RUN --name=a\\ b c", {"name": "a b"}, "c"),
    ("RUN --mount=type=cache,target=/x --mount type=secret a", {"mount": ["type=cache,target=/x", "type=secret"]}, "a"),
    ("RUN --name={{ A + 1 }} a", {"name": "{{ A + 1 }}"}, "a"),
    ("WAIT --cmd test -f '/a b'", {"cmd": "test -f '/a b'"}, ""),
    ("WAIT --cmd test $X = {{ Y }}", {"cmd": "test $X = {{ Y }}"}, ""),
    ("WAIT --cmd=test -f /a", {"cmd": "test -f /a"}, ""),
    ("WAIT --seconds 1h", {"seconds": 3600.0}, ""),
    ("DNF --help", {"help": True}, ""),
    ("PACKAGE --exclude a,b --latest c", {"exclude": ["a", "b"], "latest": True}, "c"),
    ("RUN --name=a=b c", {"name": "a=b"}, "c"),
]


@pytest.mark.parametrize(("text", "flags", "rest"), FLAGS)
def test_flags(text: str, flags: dict[str, object], rest: str) -> None:
    (step,) = steps(text)
    assert step.flags == flags
    assert step.text == rest


def test_a_flag_with_names_in_it_is_typed_when_they_are_known() -> None:
    (step,) = steps("RUN --timeout=$T --name={{ N }} --mount=a --mount=$M x")
    assert isinstance(step.flags["timeout"], Unrendered)
    table = {"timeout": Flag("timeout", "duration"), "name": Flag("name"), "mount": Flag("mount", repeatable=True)}
    known = {"$T": "2m", "{{ N }}": "n", "$M": "b"}
    assert resolve(step.flags, table, known.__getitem__) == {"timeout": 120.0, "name": "n", "mount": ["a", "b"]}


def test_the_rest_of_the_line_is_no_value_of_a_plan() -> None:
    assert not isinstance(steps("WAIT --cmd test $X")[0].flags["cmd"], Unrendered)


def test_from_has_a_manual_too() -> None:
    assert steps("FROM --help")[0].flags == {"help": True}


def test_flags_of_the_verb_behind_the_command_are_found() -> None:
    assert misplaced("a --user b --other --timeout=3", {"user": Flag("user"), "timeout": Flag("timeout")}) == [
        "--user",
        "--timeout",
    ]


JSON_FORMS = [
    ('RUN ["a b", "c"]', ("a b", "c")),
    ('RUN --user=u [ "a" ]', ("a",)),
    ("RUN ['a']", None),
    ('RUN [ "$X" = 1 ] && a', None),
    ('RUN ["a"] && b', None),
    ('COPY ["a b", "/c/"]', ("a b", "/c/")),
    ('SHELL ["/bin/bash", "-c"]', ("/bin/bash", "-c")),
    ('HEALTHCHECK CMD ["a", "b"]', ("CMD", "a", "b")),
    ("HEALTHCHECK CMD a", None),
    ('ENV ["a"]', None),
]


@pytest.mark.parametrize(("text", "args"), JSON_FORMS)
def test_json_form(text: str, args: tuple[str, ...] | None) -> None:
    assert steps(text)[0].args == args


HEREDOCS = [
    ("RUN <<EOF\na\n# b\\\nEOF", [Heredoc("EOF", "a\n# b\\\n")]),
    ("RUN <<'EOF' bash\n{{ x }}\nEOF", [Heredoc("EOF", "{{ x }}\n", expand=False)]),
    ('RUN cat <<-A <<"B" 3<<C\n\t\ta\n\tA\n\tb\nB\nC', None),
    ("COPY <<a.txt <<b.txt /etc/\n1\na.txt\n2\nb.txt", [Heredoc("a.txt", "1\n"), Heredoc("b.txt", "2\n")]),
    ("RUN <<E\\ F\nx\nE F", [Heredoc("E F", "x\n")]),
    ("RUN <<eo\\'f\nx\neo'f", [Heredoc("eo'f", "x\n")]),
    ("RUN <<'eo\"f'\nx\neo\"f", [Heredoc('eo"f', "x\n", expand=False)]),
    ('RUN <<"eo\\"f"\nx\neo"f', [Heredoc('eo"f', "x\n", expand=False)]),
    ('RUN <<""E\nx\nE', [Heredoc("E", "x\n", expand=False)]),
    ("RUN << EOF\nx\nEOF", [Heredoc("EOF", "x\n")]),
    ("RUN cat <<  \t'EOF' | tr a b\nx\nEOF", [Heredoc("EOF", "x\n", expand=False)]),
    ("RUN <<- EOF\n\tx\n\tEOF", [Heredoc("EOF", "x\n")]),
    ("RUN << -EOF\n\tx\n-EOF", [Heredoc("-EOF", "\tx\n")]),
    ("RUN 3<< E\nx\nE", [Heredoc("E", "x\n", fd=3)]),
    ("RUN << \\\nE\nx\nE", [Heredoc("E", "x\n")]),
    ("COPY << a << b /x/\n1\na\n2\nb", [Heredoc("a", "1\n"), Heredoc("b", "2\n")]),
    ("RUN cat <<", []),
    ("RUN cat << <E", []),
    ("RUN cat a<< E", []),
    ("RUN echo '<< E'", []),
    ("RUN echo \\<< E", []),
    ("RUN echo \\<< <<E\nx\nE", [Heredoc("E", "x\n")]),
    ("RUN cat <<\vE", []),
    ("RUN cat <<\u2003E", []),
    ("RUN echo '<<EOF'", []),
    ("RUN cat <<<EOF", []),
    ("ECHO <<EOF", []),
    ("RUN echo {{ x << y }}", []),
]


@pytest.mark.parametrize(("text", "heredocs"), HEREDOCS)
def test_heredocs(text: str, heredocs: list[Heredoc] | None) -> None:
    found = steps(text + "\nRUN last")
    if heredocs is None:
        heredocs = [Heredoc("A", "a\n"), Heredoc("B", "\tb\n", False), Heredoc("C", "", True, 3)]
    assert list(found[0].heredocs) == heredocs
    assert found[1].line == text.count("\n") + 2


def test_the_source_of_a_step_is_as_written() -> None:
    first, second = steps("RUN --user a b  c\nCOPY <<x /d\n1\nx\n")
    assert first.source == "RUN --user a b  c"
    assert second.source == "COPY <<x /d\n1\nx"


def test_stages() -> None:
    text = "ARG A=1\nFROM web-* and not web-3 AS web\nRUN a\nFROM --platform=linux/arm64 web\nRUN b\nRUN c"
    read = document(text)
    assert [step.text for step in read.globals] == ["A=1"]
    assert [(stage.targets, stage.name, stage.platform, stage.line) for stage in read.stages] == [
        (("web-* and not web-3",), "web", "", 2),
        (("web",), "", "linux/arm64", 4),
    ]
    assert [len(stage.instructions) for stage in read.stages] == [1, 2]


def test_a_from_keeps_quotes_and_braces() -> None:
    read = document('FROM label:owner="A  B" or {{ T }} AS x\nRUN a')
    assert read.stages[0].targets == ('label:owner="A  B" or {{ T }}',)


def test_a_text_without_from_is_one_stage_without_targets() -> None:
    read = document("ARG A\nRUN a")
    assert read.stages[0].targets == () and len(read.stages[0].instructions) == 2 and not read.globals


@pytest.mark.parametrize(
    ("text", "file", "entries"),
    [
        ("- jobs:\n  - RUN: a", "-", 1),
        ("# a\n---\n- jobs:\n  - RUN: a", "exec", 1),
        ("[{jobs: [{RUN: a}]}]", "x", 1),
        ("RUN a", "x.txt", 1),
        ("- jobs: [{RUN: a}]\n- jobs: [{RUN: b}]", "x.yml", 2),
    ],
)
def test_the_form_is_told_by_the_name_or_the_first_line(text: str, file: str, entries: int) -> None:
    assert len(document(text, file).stages) == entries
