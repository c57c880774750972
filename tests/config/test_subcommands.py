"""Subcommands and short options: every spelling of a call comes to the same flags."""

from __future__ import annotations

import pytest

from director.cli.unquoted import join_instruction
from director.config import settings
from director.config.commands import BY_COMMAND, BY_SHORT, in_flags
from director.config.table import ACTIONS, SETTINGS
from director.errors import UsageError


def load(*argv: str) -> settings.Settings:
    return settings.load(join_instruction(in_flags(argv)), {"HOME": "/nowhere"})


@pytest.mark.parametrize(
    ("call", "flags"),
    [
        ("jobs", "--list-jobs"),
        ("list-jobs a b", "--list-jobs a b"),
        ("-o json nodes", "--output json --list-nodes"),
        ("info last -ojson", "--output=json --job-info last"),
        ("run -t web-1 --wait a.director -a K=V b.director",
         "--target web-1 --wait --arg K=V --orchestrate a.director b.director"),
        ("run - -t=web-1", "--target=web-1 --orchestrate -"),
        ("exec -t web-1 RUN ls -t -o x", "--target web-1 --exec RUN ls -t -o x"),
        ("exec 'RUN uptime' -t web-1 -t web-2", "--target web-1 --target web-2 --exec 'RUN uptime'"),
        ("exec REBOOT -y", "--exec REBOOT -y"),
        ("plan a.director --no-cache false x", "--no-cache false --plan a.director x"),
        ("purge --state failed", "--state failed --purge-jobs"),
        ("run -- -x", "--orchestrate -x"),
        ("wait a --wait-timeout 5m", "--wait-timeout 5m --wait-job a"),
        # an action that is a flag keeps its words where they are
        ("--exec 'RUN ls' -t jobs", "--exec 'RUN ls' --target jobs"),
        ("--exec RUN ls -t jobs", "--exec RUN ls -t jobs"),
        ("-t a --exec=RUN ls -t jobs", "--target a --exec=RUN ls -t jobs"),
        ("--orchestrate jobs nodes", "--orchestrate jobs nodes"),
        ("--list-jobs -- -t", "--list-jobs -- -t"),
        ("ps -t x", "ps --target x"),
    ],
)  # fmt: skip
def test_each_spelling_comes_to_flags(call: str, flags: str):
    from shlex import split

    assert in_flags(split(call)) == split(flags)


def test_every_action_is_a_subcommand():
    for action in ACTIONS:
        assert BY_COMMAND[action.name] is BY_COMMAND[action.command] is action
    words = [word for action in ACTIONS for word in {action.name, action.command}]
    assert len(words) == len(BY_COMMAND), "two actions have one word"
    wanted = "server client exec run plan nodes jobs info wait cancel resume purge export"
    assert BY_COMMAND.keys() >= set(wanted.split())


def test_short_options_are_letters_of_one_setting():
    assert len(BY_SHORT) == len([setting for setting in SETTINGS if setting.short])
    assert not {"-h"} & BY_SHORT.keys()
    for setting in SETTINGS:
        assert "-" + setting.foreign not in BY_SHORT


def test_a_subcommand_does_what_its_flag_does():
    loaded = load("exec", "-t", "web-1", "RUN", "ls", "-t")
    assert (loaded.action, loaded.text, loaded.target) == ("exec", "RUN ls -t", ("web-1",))
    loaded = load("run", "a", "--wait", "b", "-a", "X=1")
    assert (loaded.action, loaded.words, loaded.wait, loaded.arg) == ("orchestrate", ("a", "b"), True, {"X": "1"})


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["exec", "RUN uptime", "-w", "web-1"], "there is no option -w; did you mean -t or --target?"),
        (["--exec", "RUN uptime", "-w", "web-1"], "there is no option -w; did you mean -t or --target?"),
        (["jobs", "-n", "3"], "there is no option -n; did you mean --limit?"),
        (["jobs", "-z"], "there is no option -z"),
        (["jobs", "-t", "a"], "--list-jobs cannot use --target; did you mean --node?"),
        (["ps"], "unexpected word 'ps'; did you mean --list-jobs?"),
        (["jobs", "--list-nodes"], "one action a call; --list-"),
        (["info", "a", "b"], "unexpected word 'b'; see director --help"),
        (["run"], "--orchestrate needs FILE; see director run --help"),
        (["exec"], "--exec needs TEXT; see director exec --help"),
        (["delete", "last"], "did you mean --purge-jobs?"),
        (["exec", "RUN x", "--dry-run"], "there is no option --dry-run; did you mean --plan?"),
        (["copy", "a b", "/tmp"], "an instruction is given with --exec: director --exec 'copy a b /tmp'"),
    ],
)
def test_what_is_refused(argv: list[str], said: str):
    with pytest.raises(UsageError) as caught:
        load(*argv)
    assert said in str(caught.value)
