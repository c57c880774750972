"""The one door to ConfigArgParse: makes the parser of the table and says what was set where."""

from __future__ import annotations

import argparse
import glob
import os

import configargparse

from director.config.file import read
from director.config.table import ACTIONS, GROUPS, SETTINGS, Action, Setting
from director.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn, TextIO

NARGS = {"one": None, "some": "+", "any": "*"}
FILE_KEYS = tuple(setting.name for setting in SETTINGS if setting.name != "config-file")
DESCRIPTION = "Asynchronous deployment and operations for the whole life of a data center."
EPILOG = (
    "Every setting is a flag, an environment variable (--server-address is DIRECTOR_SERVER_ADDRESS) and a key in the "
    "settings file (server-address: …). A flag beats the environment, which beats the file. Durations are seconds, "
    "or numbers with ms, s, m, h, d (1m30s). `director --exec 'VERB --help'` prints a verb's manual."
)


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """ConfigArgParse with errors that are ours."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _File(configargparse.ConfigFileParser):  # type: ignore[misc]
    """What ConfigArgParse asks to parse a file's stream."""

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
        """ConfigArgParse wants one."""
        return "YAML"


def nearest(word: str, words: Sequence[str], before: str = "") -> str:
    """`; did you mean X?` for the most alike of `words`, or nothing."""
    import difflib

    found = difflib.get_close_matches(word, words, 1)
    return f"; did you mean {before}{found[0]}?" if found else ""


def _open(path: str) -> TextIO:
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected a settings file") from error


def build(files: Sequence[str] = ()) -> Parser:
    """The parser; `files` are read in this order, the later beats the earlier."""
    width = _width()
    parser = Parser(
        prog="director",
        usage="director ACTION [OPTION…]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        add_config_file_help=False,
        add_env_var_help=False,
        default_config_files=[glob.escape(path) for path in files],
        config_file_parser_class=_File,
        config_file_open_func=_open,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=width),
    )
    actions = parser.add_argument_group("actions (one a call)")
    for action in ACTIONS:
        _add_action(actions, action)
    actions.add_argument("--version", action="store_true", help="print the version")
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for setting in SETTINGS:
        _add_setting(groups[setting.group], setting)
    return parser


def _width() -> int:
    # asked here because argparse imports shutil for it, at each of its formatters
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns) - 2
    try:
        return (os.get_terminal_size(1).columns or 100) - 2
    except OSError:
        return 98


def _add_action(group: Any, action: Action) -> None:
    help = action.help
    if action.takes == "none":
        group.add_argument("--" + action.name, action="store_true", help=help)
    else:
        kind = "append" if action.name == "exec" else "store"
        group.add_argument(
            "--" + action.name, action=kind, nargs=NARGS[action.takes], metavar=action.metavar, help=help
        )


def _add_setting(group: Any, setting: Setting) -> None:
    names = ["--" + name for name in (*setting.aliases, setting.name)]
    default = shown_default(setting)
    help = setting.help.replace("%", "%%") + (f" (default: {default})".replace("%", "%%") if default else "")
    options: dict[str, Any] = {
        "dest": setting.attribute,
        "env_var": setting.variable if setting.env else None,
    }
    if setting.kind == "yesno":
        group.add_argument(*names, nargs="?", const="true", metavar="true|false", help=help, **options)
        return
    kind = "append" if setting.kind in ("list", "words", "pairs") else "store"
    metavar = setting.metavar or "|".join(setting.choices) or setting.kind.upper()
    group.add_argument(*names, action=kind, metavar=metavar, help=help, **options)


def shown_default(setting: Setting) -> str:
    """The default as people read it."""
    from director import durations

    if setting.shown or setting.kind in ("list", "words", "pairs", "yesno"):
        return setting.shown
    if setting.kind == "duration" and isinstance(setting.default, float):
        return durations.show(setting.default)
    return "" if setting.default is None else str(setting.default)


def parse(
    argv: Sequence[str], environ: Mapping[str, str], files: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """What was set, as written: values by attribute, their sources by setting, words nobody takes."""
    parser = build(files)
    namespace, unknown = parser.parse_known_args(list(argv), env_vars=environ)
    values = {name: value for name, value in vars(namespace).items() if value is not None and value is not False}
    return values, _sources(parser, values), unknown


def _sources(parser: Parser, values: Mapping[str, Any]) -> dict[str, str]:
    sources = {setting.name: "flag" for setting in SETTINGS if setting.attribute in values}
    names = {setting.attribute: setting.name for setting in SETTINGS}
    for place, found in parser.get_source_to_settings_dict().items():
        kind, _, path = place.partition("|")
        if kind not in ("environment_variables", "config_file"):
            continue
        for action, _value in found.values():
            sources[names[action.dest]] = f"file {path}" if path else "environment"
    return sources
