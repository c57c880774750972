"""The parser of a call: ConfigArgParse reads flags, environment and files by the table of settings."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Mapping, Sequence

import configargparse

from director import TYPE_CHECKING, Any
from director.config.file import read
from director.config.table import ACTIONS, BY_NAME, GROUPS, SETTINGS, Action, Setting
from director.config.values import nearest
from director.errors import UsageError

if TYPE_CHECKING:
    from typing import NoReturn, TextIO

NARGS = {"one": None, "some": "+", "any": "*"}
FILE_KEYS = ("roles", *(name for name in BY_NAME if name != "config-file"))
DESCRIPTION = "Asynchronous deployment and operations for the whole life of a data center."
EPILOG = (
    "Every setting is a flag, an environment variable (--server-address is DIRECTOR_SERVER_ADDRESS) and a key in the "
    "settings file (server-address: …). A flag beats the environment, which beats the file. Durations are seconds, "
    "or numbers with ms, s, m, h, d (1m30s). `director --exec 'VERB --help'` prints a verb's manual."
)


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """ConfigArgParse that raises UsageError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _File(configargparse.ConfigFileParser):  # type: ignore[misc]
    """Reads a settings file for ConfigArgParse, and refuses keys that are no settings."""

    def parse(self, stream: TextIO) -> Mapping[str, str | list[str]]:
        try:
            found = read(stream.read(), stream.name)
        except UnicodeDecodeError as error:
            raise UsageError(f"{stream.name}: not UTF-8 text") from error
        for key in found:
            if key not in FILE_KEYS:
                raise UsageError(f"{stream.name}: there is no setting {key!r}{nearest(key, FILE_KEYS)}")
        return found

    def get_syntax_description(self) -> str:
        """Required by ConfigArgParse."""
        return "YAML"


class _Help(argparse.HelpFormatter):
    """Shows the default behind the help of each setting."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = next((shown_default(setting) for setting in SETTINGS if setting.attribute == action.dest), "")
        text = f"{action.help} (default: {default})" if default else action.help
        return text and text.replace("%", "%%")


def open_file(path: str) -> TextIO:
    """A settings file; raises UsageError when it cannot be opened."""
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected a settings file") from error


def build(settings: Sequence[Setting] = SETTINGS, files: Sequence[str] = ()) -> Parser:
    """A parser of all actions and of these settings; of `files`, a later one beats an earlier one."""
    width = _width(settings)
    parser = Parser(
        prog="director",
        usage="director ACTION [OPTION…]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        add_config_file_help=False,
        add_env_var_help=False,
        default_config_files=[glob.escape(path) for path in files],
        ignore_unknown_config_file_keys=True,  # they are settings of other actions
        config_file_parser_class=_File,
        config_file_open_func=open_file,
        formatter_class=lambda prog: _Help(prog, max_help_position=32, width=width),
    )
    actions = parser.add_argument_group("actions (one a call)")
    for action in ACTIONS:
        _add_action(actions, action)
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for setting in settings:
        _add_setting(groups[setting.group], setting)
    return parser


def _width(settings: Sequence[Setting]) -> int:
    """The columns of the help."""
    if settings is not SETTINGS:
        return 80  # for a call without `--help`: shutil takes milliseconds to import
    import shutil

    return shutil.get_terminal_size((100, 0)).columns - 2


def _add_action(group: Any, action: Action) -> None:
    options: dict[str, Any] = {"action": "store_true"}
    if action.takes != "none":
        kind = "append" if action.name == "exec" else "store"
        options = {"action": kind, "nargs": NARGS[action.takes], "metavar": action.metavar}
    group.add_argument("--" + action.name, help=action.help, **options)


def _add_setting(group: Any, setting: Setting) -> None:
    options: dict[str, Any] = {"metavar": setting.metavar}
    if setting.kind == "yesno":
        options = {"nargs": "?", "const": "true", "metavar": "true|false"}
    elif setting.kind in ("list", "words", "pairs"):
        options["action"] = "append"
    short = ["-" + setting.short] if setting.short else []
    names = [*short, *("--" + name for name in (*setting.aliases, setting.name))]
    group.add_argument(*names, dest=setting.attribute, env_var=setting.variable or None, help=setting.help, **options)


def shown_default(setting: Setting) -> str:
    """The default as the help shows it; "" when it shows none."""
    if setting.shown or setting.kind in ("list", "words", "pairs", "yesno"):
        return setting.shown
    return "" if setting.default is None else str(setting.default)


def parse(
    argv: Sequence[str], environ: Mapping[str, str], files: Sequence[str], settings: Sequence[Setting]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """What was set, as written: values by attribute, their sources by setting, and the words left over.

    Raises:
        UsageError: a flag without its value, or a file that cannot be read.
        SystemExit: `--help` was printed.
    """
    parser = build(settings, files)
    namespace, unknown = parser.parse_known_args(list(argv), env_vars=environ)
    values = {name: value for name, value in vars(namespace).items() if value is not None and value is not False}
    return values, _sources(parser, values, settings), unknown


def _sources(parser: Parser, values: Mapping[str, Any], settings: Sequence[Setting]) -> dict[str, str]:
    names = {setting.attribute: setting.name for setting in settings if setting.attribute in values}
    sources = dict.fromkeys(names.values(), "flag")
    for place, found in parser.get_source_to_settings_dict().items():
        kind, _, path = place.partition("|")
        if kind in ("environment_variables", "config_file"):
            where = f"file {path}" if path else "environment"
            sources.update((names[action.dest], where) for action, _value in found.values())
    return sources
