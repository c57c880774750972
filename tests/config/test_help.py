"""`--help`: a screen for the actions, one for each action and one for each group; its examples can be called."""

from __future__ import annotations

import os
import re
import shlex

import pytest
from harness import ROOT

from director import errors
from director.cli.unquoted import join_instruction
from director.config import help, settings
from director.config.commands import BY_COMMAND, in_flags
from director.config.table import ACTIONS, GROUPS, SETTINGS


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        settings.load(in_flags(argv), {"HOME": "/nowhere"})
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_first_screen_has_every_action_and_examples(capsys: pytest.CaptureFixture[str]):
    text = shown(capsys, "--help")
    for action in ACTIONS:
        assert f"--{action.name}" in text
    for name in help.SHOWN_FIRST:
        assert help.EXAMPLES[name][0][0] in text
    assert len(text.splitlines()) <= 70
    assert text == shown(capsys, "-h") == help.overview()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_an_action_shows_its_examples_and_options(capsys: pytest.CaptureFixture[str], action):
    text = shown(capsys, action.command, "--help")
    assert text == shown(capsys, f"--{action.name}", "--help") == shown(capsys, "help", action.command)
    for example, _ in help.EXAMPLES.get(action.name, ()):
        assert example in text
    options = set(re.findall(r"^  (?:-\w, )?--([\w-]+)", text, re.M))
    assert options == {setting.name for setting in SETTINGS if action.name in setting.used_by}
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_group_is_a_screen_of_its_own(capsys: pytest.CaptureFixture[str]):
    for group in GROUPS:
        if group in BY_COMMAND:
            continue  # `--help server` is the help of that action
        text = shown(capsys, "--help", group)
        assert {name for name in re.findall(r"^  (?:-\w, )?--([\w-]+)", text, re.M)} == {
            setting.name for setting in SETTINGS if setting.group == group
        }


@pytest.mark.parametrize("example", [text for rows in help.EXAMPLES.values() for text, _ in rows])
def test_examples_can_be_called(example: str):
    words = shlex.split(example.removeprefix('eval "$(').removesuffix(')"'))
    assert words[0] == "director"
    environ = {"HOME": "/nowhere", "DIRECTOR_CONFIG_FILE": os.devnull}
    assert settings.load(join_instruction(in_flags(words[1:])), environ).action


def test_exit_codes_are_those_of_the_errors():
    assert set(help.EXIT_CODES) == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    for code, text in help.EXIT_CODES.items():
        assert f"| {code} | {text} |" in page.replace("`", "")
