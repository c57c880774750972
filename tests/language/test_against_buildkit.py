"""Our reader and BuildKit's parser (PyPI package `dockerfile`) read the same instructions from the same text.

The newest package (3.4) has BuildKit 0.12.5 in it. Blanks between `<<` and the name of a here-document came in 2025:
texts with them are left out here and have cases of their own in test_reading_containerfile.py.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import dockerfile
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from director import verbs
from director.errors import LanguageError
from director.language import words
from director.language.instructions import Instruction, pairs, text_parts
from director.language.reader import read
from director.verbs.base import Flag

FLAGS = {name: Flag(name, repeatable=True) for name in ("a", "b", "chown")}
OFFICIAL = ("RUN", "COPY", "ADD", "ENV", "ARG", "LABEL", "USER", "WORKDIR", "EXPOSE", "SHELL", "HEALTHCHECK")
VERBS = {name: copy.copy(verbs.load(name)) for name in OFFICIAL}
for _verb in VERBS.values():
    _verb.flag_table = FLAGS

# without intended differences: braces, `--flag value`, JSON with a text behind it
_CHARACTERS = st.sampled_from(
    [
        *"abcA1 \t\\\"'$#=<>-.`,:[]&|;/*~",
        "<<E",
        "<<-F",
        "<<'G'",
        " \\\n",
        "x=y",
        "é",
        "\u2003",
        "\v",
        "\\\n# c\n",
        "\\\n\n",
        "\\ \n",
        '<<-"H I"',
        "3<<E",
        "<<$E",
        "\\$",
        "${X:-a b}",
    ]
)
_TEXT = st.lists(_CHARACTERS, max_size=14).map("".join)
_FLAG = st.sampled_from(["--a=1 ", "--b='x y' ", '--chown="q" ', "--a=\\ z ", "-- ", "--b=\\\n "])
_JSON = st.sampled_from(['["a", "b c"]', "['a']", '["a" ', '[ "é" , "x"]', '["a\\"b"]'])
_ARGUMENT = st.one_of(_TEXT, _TEXT, _JSON)
_END = st.sampled_from(
    ["\n", "\n", "\n\n", "\r\n", "\n# comment\n", "\n  # x \\\n", "\nE\n\tF\nG\n", "\nb\nE\n\tc\n\tF\nd\nG\n"]
)
_VERB = st.sampled_from([*OFFICIAL, "run", "Copy"])
_LINE = st.tuples(
    _VERB, st.sampled_from([" ", "\t", "  ", " \\\n"]), st.lists(_FLAG, max_size=2).map("".join), _ARGUMENT, _END
)
_TOP = st.sampled_from(
    ["", "", "# escape=`\n", "# escape=\\\n", "#!/bin/x\n", "# syntax=a/b\n", "\n# escape=`\n", "\ufeff"]
)
TEXTS = st.tuples(_TOP, st.lists(_LINE.map("".join), min_size=1, max_size=4).map("".join)).map("".join)


def theirs(text: str) -> list[tuple[Any, ...]] | None:
    """Verb, flags, values, JSON, line and heredocs of each instruction; None when the text is refused."""
    try:
        found = dockerfile.parse_string(text)
    except (dockerfile.GoParseError, UnicodeDecodeError):  # the latter where it cut a character in two
        return None
    if any(step.cmd is None for step in found):
        return None
    return [
        (
            step.cmd.upper(),
            step.flags,
            step.value,
            step.json,
            step.start_line,
            [(doc.name, doc.content.replace("\t", ""), doc.file_descriptor) for doc in step.heredocs],
        )
        for step in found
    ]


def ours(text: str) -> list[tuple[Any, ...]] | None:
    """The same, from our reader."""
    try:
        steps = read(text, "f", "containerfile", VERBS).stages[0].instructions
        return [
            (
                step.verb,
                tuple(f"--{name}={value}" for name, values in step.flags.items() for value in values),
                values_of(step),
                step.args is not None,
                step.line,
                [(doc.name, doc.content.replace("\t", ""), doc.fd) for doc in step.heredocs],
            )
            for step in steps
        ]
    except (LanguageError, ValueError):
        return None


def values_of(step: Instruction) -> tuple[str, ...]:
    """The argument as the package returns it."""
    if step.args is not None:
        return step.args
    if step.verb in ("ENV", "LABEL"):
        return tuple(part for key, value in pairs(step) for part in (key, value or ""))
    if step.verb == "ARG":
        return tuple(words.quoted(step.text, step.escape))
    if step.verb in ("COPY", "ADD", "EXPOSE"):
        return tuple(words.plain(step.text))
    if step.verb == "HEALTHCHECK":
        return tuple(part for part in text_parts(step.text) if part)
    return (step.text,)


_NEWER_HEREDOC = re.compile(r"<<-?[\s\\`]")


def comparable(found: list[tuple[Any, ...]]) -> bool:
    """Whether all of it has a meaning for Director: known verbs, an argument, names before `=`."""
    return all(
        verb in OFFICIAL
        and value
        and not (verb in ("ENV", "LABEL") and "" in value[::2])
        and not any("=" not in flag for flag in flags)
        and not (verb == "ARG" and any(word.startswith("=") for word in value))
        for verb, flags, value, *_ in found
    )


def normal(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Flags sorted, as ours are kept by name."""
    return [(verb, tuple(sorted(flags)), *rest) for verb, flags, *rest in found]


@given(TEXTS)
@example("RUN a \\\n# c\n b\n")
@example("# escape=`\nRUN cat <<E `\n  x\nb\nE\nCOPY --a=\\ z a b\n")
@example('ENV a=\'x y\' b="q\\"r" c=d\\ e\n')
@example('RUN --a="x y" -- --b z\n')
def test_what_the_official_parser_accepts_is_the_same_here(text: str) -> None:
    if _NEWER_HEREDOC.search(text):
        return
    expected = theirs(text)
    if expected is None or not comparable(expected) or ("]" in text and "HEALTHCHECK" in text):
        return
    found = ours(text)
    assert found is not None
    assert normal(found) == normal(expected)


@pytest.mark.parametrize(
    "text",
    [
        "HEALTHCHECK CMD \u2003x\n",
        'HEALTHCHECK CMD \u2003["a"]\n',
        "COPY \u2028--a=1 b\n",
        "RUN --a=1 \xa0x\n",
        'RUN ["\\ud800"]\n',
        "ARG '\\\\\\\nARG a\n",
        "RUN cat 2345678901<<E\na\nE\n",
        "COPY <<É <<-F'G' <<\"H I\" /a/\n1\nÉ\n\tFG\nH I\n",
        "RUN cat <<E \\\n# c\n\n | cat\r\nx\\\nE\r\n",
    ],
)
def test_odd_texts_are_the_same_here(text: str) -> None:
    expected = theirs(text)
    assert expected
    assert ours(text) == expected


@pytest.mark.parametrize(
    "line",
    [
        "FROM a",
        "from  a  AS b ",
        "FROM --platform=linux/arm64 a as b",
        "FROM a \\\n# c\n\n AS \\\n b",
        "FROM \t--platform=a\vb",
        "FROM a b c",
    ],
)
def test_a_from_is_the_same_here(line: str) -> None:
    (expected,) = dockerfile.parse_string(line)
    (stage,) = read(line, "f", "containerfile", VERBS).stages
    name = ["AS", stage.name] if stage.name else []
    assert [*words.plain(stage.targets[0]), *name] == ["AS" if word == "as" else word for word in expected.value]
    assert stage.line == expected.start_line
    assert expected.flags == ((f"--platform={stage.platform}",) if stage.platform else ())


@pytest.mark.parametrize(
    "text",
    [
        "RUN <<E\na",
        "RUN <<E <<F\na\nE\n",
        'RUN ["a", 1]',
        "# escape=`\n# escape=`\nRUN a",
        "# escape=a\nRUN a",
        "ENV a",
        "LABEL a",
        "ENV a=b c",
        "",
        "# a",
    ],
)
def test_what_it_refuses_is_refused(text: str) -> None:
    assert theirs(text) is None
    assert ours(text) is None
