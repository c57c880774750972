"""An instruction without quotes after `--exec`: which words are the instruction's and which are flags of the call."""

from __future__ import annotations

import pytest

from director.cli.unquoted import join_instruction
from director.config import settings
from director.errors import UsageError


@pytest.fixture(autouse=True)
def no_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEFAULT_FILES", ())


def load(*argv: str) -> settings.Settings:
    return settings.load(join_instruction(argv), {"HOME": "/nowhere"})


def fails(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(*argv)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--exec", "RUN uptime"], "RUN uptime"),
        (["--wait", "--exec", "RUN", "uptime", "-p", "--all"], "RUN uptime -p --all"),
        (["--exec", "REBOOT"], "REBOOT"),
        (["--exec=RUN", "ls", "--help"], "RUN ls --help"),
        (["--exec", "run", "a  b", "--", "c"], "run a  b -- c"),
        (["--exec", "RUN a\nRUN b"], "RUN a\nRUN b"),
        (["--exec", "RUN --help"], "RUN --help"),
    ],
)
def test_exec_takes_one_text_or_everything_behind_a_bare_verb(argv: list[str], text: str):
    settings = load(*argv)
    assert (settings.action, settings.text) == ("exec", text)


@pytest.mark.parametrize(
    ("words", "call", "instruction"),
    [
        (["RUN", "uptime", "--target", "web 1"], "--target 'web 1' --exec RUN uptime", "RUN uptime --target web 1"),
        (["RUN", "uptime", "--target=a"], "--target=a --exec RUN uptime", "RUN uptime --target=a"),
        (["run", "a", "--wait", "-b"], "--wait --exec run a -b", "run a --wait -b"),
        (["RUN", "a", "--wait-timeout", "5s"], "--wait-timeout 5s --exec RUN a", "RUN a --wait-timeout 5s"),
        (["RUN", "a", "--valid-for", "5", "--output", "json"], "--valid-for 5 --output json --exec RUN a",
         "RUN a --valid-for 5 --output json"),
        (["RUN", "a", "--stream"], "--stream --exec RUN a", "RUN a --stream"),
        (["RUN", "--wait"], "--wait --exec RUN", "RUN --wait"),
        (["RUN", "--timeout", "5", "a", "--wait"], "--wait --exec RUN --timeout 5 a", "RUN --timeout 5 a --wait"),
        (["REBOOT", "5", "--wait"], "--wait --exec REBOOT 5", "REBOOT 5 --wait"),
        (["OWN", "a", "--wait"], "--wait --exec OWN a", "OWN a --wait"),
    ],
)  # fmt: skip
def test_a_flag_of_the_call_in_an_unquoted_instruction_is_refused(words: list[str], call: str, instruction: str):
    for argv in (["--exec", *words], [f"--exec={words[0]}", *words[1:]]):
        said = fails("--limit", "3", *argv)
        assert f"if it is for the call: director --limit 3 {call}; " in said
        assert said.endswith(f"; if not: director --limit 3 --exec '{instruction}'")


@pytest.mark.parametrize(
    "words",
    [
        ["RUN", "--", "uptime", "--target", "web-1"],  # the check ends there
        ["RUN", "git", "log", "--", "--output"],
        ["RUN", "--name", "x", "uptime"],  # every verb has it
        ["RUN", "grep", "-w", "-o", "--name", "x"],
        ["RUN", "ls", "--color"],
        ["RUN", "sh", "-c", "a --target b"],
        ["OWN", "a", "--name", "x"],
        ["OWN", "--output", "x", "a"],  # only the server knows whether OWN has it
    ],
)
def test_words_that_may_belong_to_the_instruction_are_kept(words: list[str]):
    settings = load("--exec", *words)
    assert (settings.text, settings.target, settings.output) == (" ".join(words), (), "table")


@pytest.mark.parametrize("argv", [["--exec", "REBOOT"], ["--exec=reboot"]])
def test_a_verb_that_needs_no_argument_is_complete_before_directors_flags(argv: list[str]):
    settings = load(*argv, "--wait", "--target", "a", "--ignore-cache")
    assert (settings.text, settings.wait, settings.target) == (argv[-1].removeprefix("--exec="), True, ("a",))
    assert load(*argv, "--plan").action == "plan"
    assert load(*argv, "--timeout", "60").text.upper() == "REBOOT --TIMEOUT 60"  # the verb has it, too
    assert load(*argv, "--later").text.upper() == "REBOOT --LATER"


def test_words_after_two_dashes_belong_to_the_instruction():
    assert load("--exec", "RUN", "--", "x", "--wait", "y").text == "RUN -- x --wait y"
