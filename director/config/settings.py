"""Loads the settings of a call from its flags, the environment and files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace

from director import TYPE_CHECKING, Any, durations
from director.config import parser
from director.config.table import ACTIONS, BY_FLAG, BY_NAME, CALLS, GROUPS, OVERVIEWS, SETTINGS, Setting
from director.config.values import convert, nearest
from director.errors import UsageError

if TYPE_CHECKING:
    from typing import NoReturn

DEFAULT_FILES = ("/etc/director/director.yaml", "~/.config/director/director.yaml")
# variables that are no settings: DEBUG shows tracebacks, the others are in the environment of a RUN
OTHER_VARIABLES = frozenset(("DIRECTOR_DEBUG", "DIRECTOR_TOKEN", "DIRECTOR_NODE", "DIRECTOR_JOB", "DIRECTOR_TASK"))
VARIABLES = frozenset(setting.variable for setting in SETTINGS if setting.variable)
SWITCHES = frozenset(flag for flag, setting in BY_FLAG.items() if setting.kind == "yesno")
ACTION_NAMES = tuple(action.name for action in ACTIONS)
_KUBERNETES = r"DIRECTOR_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
_KUBERNETES_VALUE = r"(tcp|udp|sctp)://"


class Settings(SimpleNamespace):
    """What a call shall do, frozen: an attribute for each setting, which has its default unless it is given.

    Attributes:
        action: a name of `ACTIONS`, or "" for none.
        words: the words of the action (ids, files, nodes).
        text: the instructions of `--exec`, None when there are none.
        files: the settings files that were read.
        roles: of a server, who may do what (`config.roles.Grant`); None when no file has roles.
        sources: of each setting `flag`, `environment`, `file PATH` or `default`.
        warnings: lines for stderr.

    Raises:
        TypeError: a value for a setting that does not exist.
    """

    action: str
    words: tuple[str, ...]
    text: str | None
    files: tuple[str, ...]
    roles: tuple[Any, ...] | None
    sources: Mapping[str, str]
    warnings: tuple[str, ...]

    def __init__(self, **values: Any) -> None:
        known: dict[str, Any] = {"action": "", "words": (), "text": None, "sources": {}, "warnings": ()}
        known.update(files=(), roles=None)
        known.update((setting.attribute, _default(setting)) for setting in SETTINGS)
        if unknown := values.keys() - known.keys():
            raise TypeError(f"there is no setting {', '.join(sorted(unknown))}")
        super().__init__(**{**known, **values})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen; {name} cannot be set")

    __delattr__ = __setattr__  # type: ignore[assignment]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def replace(self, **values: Any) -> Settings:
        """The same settings with some changed."""
        return Settings(**{**self.__dict__, **values})


def _default(setting: Setting) -> Any:
    if setting.name == "workers":
        return min(4, len(os.sched_getaffinity(0)))
    if setting.name == "identity":
        return os.uname().nodename
    if setting.kind == "duration" and isinstance(setting.default, str):
        return durations.parse(setting.default)
    return dict(setting.default) if isinstance(setting.default, dict) else setting.default


def load(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a call.

    Args:
        argv: the words after the program's name; an unquoted instruction is joined to `--exec=TEXT` already.
        environ: `os.environ` when None.

    Raises:
        UsageError: a flag, value, key or file that cannot be used; the message names where it came from.
        SystemExit: `--help` was printed.
    """
    environ = os.environ if environ is None else environ
    words = switches_first(argv)
    flags = [word.partition("=")[0] for word in _before_dashes(words)]
    asked = [name for name in ACTION_NAMES if "--" + name in flags]
    action = _one_action(asked)
    if "--help" in flags or "-h" in flags:
        _help(action, words)
    used = SETTINGS
    if action in CALLS and action not in OVERVIEWS:
        used = tuple(setting for setting in SETTINGS if action in setting.used_by)
    variables = {name: value for name, value in environ.items() if _is_ours(name, value)}
    files, unreadable = _files(words, variables, environ)
    values, sources, unknown = parser.parse(words, variables, files, used)
    given = {setting.attribute: convert(setting, values[setting.attribute], sources[setting.name])
             for setting in used if setting.attribute in values}  # fmt: skip
    action = action or given.get("mode", "")
    _check_usable(action, flags)
    if unknown:
        raise UsageError(_unknown(unknown, action))
    return Settings(
        action=action,
        words=_words(values, asked),
        text=_text(values, action),
        files=tuple(map(os.path.abspath, files)),
        roles=_roles(files, unreadable) if action == "server" else None,
        sources={setting.name: sources.get(setting.name, "default") for setting in SETTINGS},
        warnings=(*_unknown_variables(variables), *(f"{path} cannot be read and is left out" for path in unreadable)),
        **given,
    )


def _help(action: str, words: Sequence[str]) -> NoReturn:
    """Print the help, and end the program."""
    from director.config.help import page

    sys.stdout.write(page(action, words))
    raise SystemExit(0)


def _roles(files: Sequence[str], unreadable: Sequence[str]) -> Any:
    """See `Settings.roles`. Raises UsageError, also when a file cannot be read."""
    from director.config.roles import read_roles

    if unreadable:
        raise UsageError(f"{unreadable[0]} cannot be read, and may say who has which role")
    return read_roles(files)


def _before_dashes(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words


def switches_first(words: Sequence[str]) -> list[str]:
    """The words with each yes/no flag in front, joined to its value: `--wait=true`.

    So `--orchestrate --wait FILE` does not take FILE for the value of `--wait`.
    """
    end = len(_before_dashes(words))
    found, rest = [], []
    at = 0
    while at < end:
        word = words[at]
        at += 1
        if word not in SWITCHES:
            rest.append(word)
        elif at < end and words[at] in ("true", "false"):
            found.append(f"{word}={words[at]}")
            at += 1
        else:
            found.append(f"{word}=true")
    return [*found, *rest, *words[end:]]


def _one_action(asked: Sequence[str]) -> str:
    """The action of a call that names these; "" for none.

    Raises:
        UsageError: it names two.
    """
    if "plan" in asked and {"plan", "exec", "orchestrate"}.issuperset(asked):
        return "plan"
    if len(asked) > 1:
        raise UsageError(f"one action a call; --{asked[0]} and --{asked[1]} are two")
    return asked[0] if asked else ""


def _is_ours(name: str, value: str) -> bool:
    """Whether a variable is meant for director: Kubernetes sets `DIRECTOR_PORT=tcp://…` for a service of that name."""
    if not name.startswith("DIRECTOR_") or not value or name in OTHER_VARIABLES:
        return False
    return not re.match(_KUBERNETES_VALUE, value) and (name in VARIABLES or not re.fullmatch(_KUBERNETES, name))


def _unknown_variables(names: Iterable[str]) -> list[str]:
    """A warning for each variable that sets nothing."""
    known = tuple(VARIABLES)
    return [f"the variable {name} sets nothing{nearest(name, known)}" for name in names if name not in VARIABLES]


def _files(
    words: Sequence[str], variables: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The settings files to read, of which a later one beats an earlier one, and those that cannot be read."""
    named = variables.get("DIRECTOR_CONFIG_FILE", "")
    behind = [*words[1:], ""]
    for word, value in zip(_before_dashes(words), behind, strict=False):
        if word.startswith("--config-file="):
            named = word.partition("=")[2]
        elif word == "--config-file":
            named = value
    if named:
        named = _home(named, environ)
        parser.open_file(named).close()  # ConfigArgParse passes over a file that is not there
        return [named], []
    found = [path for path in (_home(path, environ) for path in DEFAULT_FILES) if os.path.exists(path)]
    files = [path for path in found if os.access(path, os.R_OK)]
    return files, [path for path in found if path not in files]


def _home(path: str, environ: Mapping[str, str]) -> str:
    if path.startswith("~/") and environ.get("HOME"):
        return environ["HOME"] + path[1:]
    return os.path.expanduser(path)


def _unknown(words: Sequence[str], action: str) -> str:
    word = words[0].partition("=")[0]
    if re.match("-[^-]", word):
        known = [setting for setting in SETTINGS if word[1] in setting.foreign]
        known.sort(key=lambda setting: action not in setting.used_by)
        hint = f"-{known[0].short} or --{known[0].name}".removeprefix("- or ") if known else ""
        return f"there is no option {word[:2]}{f'; did you mean {hint}?' if hint else ''}"
    for name, hints in (("help", ()), *((action.name, (action.command, *action.hints)) for action in ACTIONS)):
        if word.lower().removeprefix("--") in (name, *hints):
            return f"{_what(word)}; did you mean --{name}?"
    if word.startswith("-"):
        names = ["--" + name for name in (*ACTION_NAMES, "help", *BY_NAME)]
        return f"{_what(word)}{nearest(word, names)}"
    return f"{_what(word)}{nearest(word, ACTION_NAMES, '--') or '; see director --help'}"


def _what(word: str) -> str:
    return f"there is no option {word}" if word.startswith("-") else f"unexpected word {word!r}"


def _text(values: Mapping[str, Any], action: str) -> str | None:
    """The text of `--exec`, None when there is none."""
    texts = values.get("exec", ())
    if len(texts) > 1:
        raise UsageError("--exec is given twice; separate steps by line breaks in one text")
    if action == "plan" and bool(texts) == bool(values.get("plan") or values.get("orchestrate")):
        raise UsageError(
            "--plan takes files, or --exec TEXT, not both" if texts else "--plan takes a FILE or --exec TEXT"
        )
    return texts[0] if texts else None


def _check_usable(action: str, flags: Iterable[str]) -> None:
    """Raise UsageError for a flag on the command line that the action cannot use; files and variables serve all."""
    for setting in filter(None, map(BY_FLAG.get, flags)):
        if action in ACTION_NAMES and action not in OVERVIEWS and action not in setting.used_by:
            raise UsageError(f"--{action} cannot use --{setting.name}; {_usable(action, setting)}")


def _usable(action: str, setting: Setting) -> str:
    """What can be used for a setting that an action cannot use."""
    for name in setting.instead:
        if action in BY_NAME[name].used_by:
            return f"did you mean --{name}?"
    if len(setting.used_by) > 5:
        return f"it is one of the {GROUPS[setting.group]}"
    return f"it is for --{', --'.join(setting.used_by)}"


def _words(values: Mapping[str, Any], asked: Sequence[str]) -> tuple[str, ...]:
    words: list[str] = []
    for name in asked:
        value = values[name.replace("-", "_")]
        if name != "exec" and value is not True:
            words += [value] if isinstance(value, str) else value
    return tuple(words)
