"""Turns subcommands and short options into flags: `run FILE -t web-1` is `--target web-1 --orchestrate FILE`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from director.config.table import ACTIONS, BY_FLAG, SETTINGS, Action, Setting

BY_COMMAND: dict[str, Action] = {word: action for action in ACTIONS for word in (action.name, action.command)}
BY_SHORT: dict[str, Setting] = {"-" + setting.short: setting for setting in SETTINGS if setting.short}
_ACTION_FLAGS = {"--" + action.name for action in ACTIONS}
_BARE_VERB = r"[A-Za-z][A-Za-z0-9_-]*"


def in_flags(argv: Sequence[str]) -> list[str]:
    """The words of a call with its subcommand, if it has one, as a flag, and short options as long ones.

    The words of an action that is written as a flag stay where they are; those of a subcommand go behind it, so that
    options may stand anywhere. What follows the bare verb of an unquoted instruction is not touched.
    """
    flags: list[str] = []
    plain: list[str] = []
    command: Action | None = None
    at, by_flag = 0, False
    while at < len(argv):
        word = argv[at]
        if word == "--":
            return _whole(flags, command, [*plain, *(argv[at + 1 :] if command else argv[at:])])
        name = word.partition("=")[0]
        by_flag = by_flag or name in _ACTION_FLAGS
        if name == "--exec" and is_bare_verb(word[7:] or "".join(argv[at + 1 : at + 2])):
            return [*flags, *argv[at:]]
        if not word.startswith("-") or word == "-":
            if command is None and not by_flag and word in BY_COMMAND:
                command = BY_COMMAND[word]
            elif word == "help" and at == 0:
                flags.append("--help")
            elif command is None:
                flags.append(word)
            elif command.name == "exec" and not plain and is_bare_verb(word):
                return _whole(flags, command, argv[at:])
            else:
                plain.append(word)
            at += 1
            continue
        found, setting = _long(word)
        count = 1 if "=" in found or setting is None else _value_words(setting, argv[at + 1 : at + 2])
        flags += [found, *argv[at + 1 : at + count]]
        at += count
    return _whole(flags, command, plain)


def is_bare_verb(word: str) -> bool:
    """Whether the word can be the verb of an instruction without quotes."""
    return re.fullmatch(_BARE_VERB, word) is not None


def _long(word: str) -> tuple[str, Setting | None]:
    """The word with a short option written out, and the setting, None when there is none."""
    setting = BY_SHORT.get(word[:2])
    if setting is None:
        return word, BY_FLAG.get(word.partition("=")[0])
    value = word[2:].removeprefix("=")
    return f"--{setting.name}{'=' if value else ''}{value}", setting


def _value_words(setting: Setting, following: Sequence[str]) -> int:
    """How many words a flag and its value are."""
    if setting.kind == "yesno":
        return 2 if following in (["true"], ["false"]) else 1
    return 1 + len(following)


def _whole(flags: Sequence[str], command: Action | None, plain: Sequence[str]) -> list[str]:
    return [*flags, *(["--" + command.name] if command else []), *plain]
