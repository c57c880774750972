"""From a call's flags, environment and files to one frozen `Settings`."""

from __future__ import annotations

import os
import re

from director.config.table import ACTIONS, BY_NAME, COMMON, GROUPS, SETTINGS, Setting
from director.config.unquoted import join_instruction
from director.config.values import convert
from director.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

DEFAULT_FILES = ("/etc/director/director.yaml", "~/.config/director/director.yaml")
# variables that are no settings: whether errors show where they come from, and what a RUN finds in its environment
OTHER_VARIABLES = frozenset(("DIRECTOR_DEBUG", "DIRECTOR_NODE", "DIRECTOR_JOB", "DIRECTOR_TASK"))
VARIABLES = {setting.variable: setting for setting in SETTINGS if setting.env}
SWITCHES = frozenset("--" + name for s in SETTINGS if s.kind == "yesno" for name in (s.name, *s.aliases))
ACTION_NAMES = tuple(action.name for action in ACTIONS)
_KUBERNETES = r"DIRECTOR_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
_KUBERNETES_VALUE = r"(tcp|udp|sctp)://"
# words that other tools have for what is a flag here
HINTS = {
    "run": "exec", "shell": "exec", "apply": "orchestrate", "play": "orchestrate", "jobs": "list-jobs",
    "ps": "list-jobs",
    "list": "list-jobs", "ls": "list-jobs", "status": "list-jobs", "nodes": "list-nodes", "hosts": "list-nodes",
    "get": "list-jobs", "describe": "job-info", "inspect": "job-info", "info": "job-info", "logs": "job-info",
    "job": "job-info", "node": "node-info", "cancel": "cancel-job", "stop": "cancel-job", "kill": "cancel-job",
    "rm": "purge-jobs", "prune": "purge-jobs", "export": "export-jobs", "agent": "client", "daemon": "server",
    "serve": "server", "help": "help", "version": "version", "wait": "wait-job", "purge": "purge-jobs",
}  # fmt: skip


class Settings:
    """What a call was asked to do, frozen: one attribute a setting, dashes as underscores, `async` as `asynchronous`.

    `Settings(port=6000)` has defaults for everything else.

    Attributes:
        action: a name of `ACTIONS`, `version`, or "" when none was asked for.
        words: the action's words (ids, files, nodes).
        text: the instructions of `--exec`, None when there are none.
        sources: setting name to `flag`, `environment`, `file PATH` or `default`.
        warnings: lines for stderr.
    """

    action: str
    words: tuple[str, ...]
    text: str | None
    sources: Mapping[str, str]
    warnings: tuple[str, ...]

    def __init__(self, **values: Any) -> None:
        known: dict[str, Any] = {"action": "", "words": (), "text": None, "sources": {}, "warnings": ()}
        known.update((setting.attribute, _default(setting)) for setting in SETTINGS)
        if unknown := values.keys() - known.keys():
            raise TypeError(f"there is no setting {', '.join(sorted(unknown))}")
        self.__dict__.update(known)
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen; {name} cannot be set")

    __delattr__ = __setattr__  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

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
    return dict(setting.default) if isinstance(setting.default, dict) else setting.default


def load(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a call.

    Args:
        argv: the words behind the program's name.
        environ: `os.environ` when None.

    Raises:
        UsageError: a flag, value, key or file that cannot be used; the message names where it came from.
        SystemExit: `--help` was printed.
    """
    from director.config import parser

    environ = os.environ if environ is None else environ
    words = switches_first(join_instruction(argv))
    variables, warnings = _variables(environ)
    files, more = _files(words, variables, environ)
    values, sources, unknown = parser.parse(words, variables, files)
    if unknown:
        raise UsageError(_unknown(unknown))
    given = {setting.attribute: convert(setting, values[setting.attribute], sources.get(setting.name, ""))
             for setting in SETTINGS if setting.attribute in values}  # fmt: skip
    action, action_words, text = _action(values, str(given.get("mode", "")))
    _check_usable(action, sources)
    every = {setting.name: sources.get(setting.name, "default") for setting in SETTINGS}
    return Settings(action=action, words=action_words, text=text, sources=every, warnings=(*warnings, *more), **given)


def switches_first(words: Sequence[str]) -> list[str]:
    """Yes/no flags before all else and each with its value: the word behind one is not taken for it.

    So `--orchestrate --wait FILE` and `--list-jobs --no-header ID` mean what they say.
    """
    end = words.index("--") if "--" in words else len(words)
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


def _variables(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The `DIRECTOR_*` variables that set something, and warnings for those that nobody knows."""
    known: dict[str, str] = {}
    warnings = []
    for name, value in environ.items():
        if not name.startswith("DIRECTOR_") or name in OTHER_VARIABLES or not value:
            continue
        if re.match(_KUBERNETES_VALUE, value) or (name not in VARIABLES and re.fullmatch(_KUBERNETES, name)):
            continue
        if name in VARIABLES:
            known[name] = value
        else:
            from director.config.parser import nearest

            hint = nearest(name, tuple(VARIABLES))
            warnings.append(f"the variable {name} sets nothing{hint}")
    return known, warnings


def _files(
    words: Sequence[str], variables: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The settings files to read, the later beats the earlier, and warnings."""
    named = variables.get("DIRECTOR_CONFIG_FILE", "")
    for index, word in enumerate(words):
        if word == "--":
            break
        if word.startswith("--config-file="):
            named = word.partition("=")[2]
        elif word == "--config-file" and index + 1 < len(words):
            named = words[index + 1]
    if named:
        return [_readable(_home(named, environ))], []
    files, warnings = [], []
    for path in DEFAULT_FILES:
        path = _home(path, environ)
        if os.access(path, os.R_OK):
            files.append(path)
        elif os.path.exists(path):
            warnings.append(f"{path} cannot be read and is left out")
    return files, warnings


def _home(path: str, environ: Mapping[str, str]) -> str:
    if path.startswith("~/") and environ.get("HOME"):
        return environ["HOME"] + path[1:]
    return os.path.expanduser(path)


def _readable(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected a settings file") from error
    return path


def _unknown(words: Sequence[str]) -> str:
    from director.config.parser import nearest

    word = words[0].partition("=")[0]
    if word.startswith("-"):
        names = ["--" + name for name in (*ACTION_NAMES, "help", "version", *BY_NAME)]
        return f"there is no option {word}{nearest(word, names)}"
    if word in ACTION_NAMES:
        return f"unexpected word {word!r}; did you mean --{word}?"
    if word.lower() in HINTS:
        return f"unexpected word {word!r}; did you mean --{HINTS[word.lower()]}?"
    return f"unexpected word {word!r}{nearest(word, ACTION_NAMES, '--')}"


def _action(values: Mapping[str, Any], mode: str) -> tuple[str, tuple[str, ...], str | None]:
    """The action, its words and the text of `--exec`."""
    asked = [name for name in (*ACTION_NAMES, "version") if name.replace("-", "_") in values]
    texts = [text for text in values.get("exec", ())]
    if len(texts) > 1:
        raise UsageError("--exec is given twice; separate steps by line breaks in one text")
    text = texts[0] if texts else None
    words = _words(values, asked)
    if "plan" in asked and set(asked) <= {"plan", "exec", "orchestrate"}:
        if (text is None) == (not words):
            raise UsageError(
                "--plan takes files, or --exec TEXT, not both" if words else "--plan takes a FILE or --exec TEXT"
            )
        return "plan", words, text
    if len(asked) > 1:
        raise UsageError(f"one action a call; --{asked[0]} and --{asked[1]} are two")
    return (asked[0] if asked else mode), words, text


def _check_usable(action: str, sources: Mapping[str, str]) -> None:
    """Raise UsageError for a flag on the command line that the action cannot use; files and variables serve all."""
    for setting in SETTINGS:
        if sources.get(setting.name) == "flag" and action in ACTION_NAMES and action not in setting.used_by:
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


def reference() -> str:
    """docs/settings.md: every setting in a table of its group."""
    from director.config.parser import shown_default

    lines = [
        "# Settings",
        "",
        "A flag beats the environment, which beats the settings file, which beats the default.",
        "",
    ]
    lines += [f"Files: `{DEFAULT_FILES[0]}`, then `{DEFAULT_FILES[1]}`; with `--config-file` only that one.",
              "Durations are seconds, or numbers with ms, s, m, h, d (`1m30s`).",
              "A flag on the command line that the action cannot use is an error (exit 2) that names the right one;",
              "what files and the environment set is passed over then, as they serve every action.", ""]  # fmt: skip
    lines += ["## Actions", "", "| action | does |", "|---|---|"]
    lines += [f"| `{('--' + action.name + ' ' + action.metavar).strip()}` | {action.help} |" for action in ACTIONS]
    for group in sorted(GROUPS, key=lambda name: name == COMMON):
        title = GROUPS[group]
        lines += [
            "",
            f"## {title[0].upper()}{title[1:]}",
            "",
            "| flag | variable | default | |",
            "|---|---|---|---|",
        ]
        for setting in SETTINGS:
            if setting.group == group:
                flag = ", ".join(f"`--{name}`" for name in (setting.name, *setting.aliases))
                kind = f" ({', '.join(setting.choices)})" if setting.choices else ""
                variable = f"`{setting.variable}`" if setting.env else ""
                default = shown_default(setting) or ("false" if setting.kind == "yesno" else "none")
                lines.append(f"| {flag} | {variable} | {default} | {setting.help}{kind} |")
    return "\n".join(lines) + "\n"
