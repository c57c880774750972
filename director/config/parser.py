"""The parser of a call: ConfigArgParse reads flags, environment and files by the table of settings."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence

import configargparse

from director import TYPE_CHECKING, Any
from director.config.file import read
from director.config.table import ACTIONS, BY_NAME, SETTINGS, Action, Setting
from director.config.values import nearest
from director.errors import UsageError

if TYPE_CHECKING:
    from typing import NoReturn, TextIO

NARGS = {"one": None, "some": "+", "any": "*"}
FILE_KEYS = ("roles", *(name for name in BY_NAME if name != "config-file"))


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """ConfigArgParse that raises UsageError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        for action in ACTIONS:
            if message.startswith(f"argument --{action.name}: expected"):
                message = f"--{action.name} needs {action.metavar}; see director {action.command} --help"
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


def open_file(path: str) -> TextIO:
    """A settings file; raises UsageError when it cannot be opened."""
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected a settings file") from error


def build(settings: Sequence[Setting] = SETTINGS, files: Sequence[str] = ()) -> Parser:
    """A parser of all actions and of these settings; of `files`, a later one beats an earlier one."""
    parser = Parser(
        prog="director",
        add_help=False,
        allow_abbrev=False,
        add_config_file_help=False,
        add_env_var_help=False,
        default_config_files=[glob.escape(path) for path in files],
        ignore_unknown_config_file_keys=True,  # they are settings of other actions
        config_file_parser_class=_File,
        config_file_open_func=open_file,
    )
    for action in ACTIONS:
        _add_action(parser, action)
    for setting in settings:
        _add_setting(parser, setting)
    return parser


def _add_action(parser: Parser, action: Action) -> None:
    options: dict[str, Any] = {"action": "store_true"}
    if action.takes != "none":
        options = {"action": "append" if action.name == "exec" else "store", "nargs": NARGS[action.takes]}
    parser.add_argument("--" + action.name, **options)


def _add_setting(parser: Parser, setting: Setting) -> None:
    options: dict[str, Any] = {}
    if setting.kind == "yesno":
        options = {"nargs": "?", "const": "true"}
    elif setting.kind in ("list", "words", "pairs"):
        options["action"] = "append"
    names = ["--" + name for name in reversed(setting.names)]
    parser.add_argument(*names, dest=setting.attribute, env_var=setting.variable or None, **options)


def parse(
    argv: Sequence[str], environ: Mapping[str, str], files: Sequence[str], settings: Sequence[Setting]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """What was set, as written: values by attribute, their sources by setting, and the words left over.

    Raises:
        UsageError: a flag without its value, or a file that cannot be read.
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
