"""Completion for bash, zsh and fish: their scripts ask `director --complete`, which asks the server for names."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise

from director import Any
from director.cli.output import answer
from director.config.commands import BY_COMMAND, BY_SHORT, is_bare_verb
from director.config.settings import Settings, load
from director.config.table import ACTIONS, BY_FLAG, SETTINGS, Action, Setting
from director.config.values import nearest
from director.errors import EXIT_OK, DirectorError, UsageError

SCRIPTS = {
    "bash": """\
_director() {
    local line found
    found=$(director --complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    COMPREPLY=()
    if [ "$found" = :files ]; then
        compopt -o default
        return
    fi
    while IFS= read -r line; do
        [ -n "$line" ] && COMPREPLY+=("$line")
    done <<< "$found"
}
complete -F _director director
""",
    "zsh": """\
#compdef director
_director() {
    local -a found
    found=("${(@f)$(director --complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    if [[ "$found" == :files ]]; then
        _files
    elif [[ -n "$found" ]]; then
        _describe director found
    fi
}
if [ "$funcstack[1]" = _director ]; then _director; else compdef _director director; fi
""",
    "fish": """\
function __director_complete
    set -l words (commandline -opc)
    set -l found (director --complete fish $words[2..] (commandline -ct) 2>/dev/null)
    if test "$found" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c director -f -a '(__director_complete)'
""",
}
FILES: list[tuple[str, str]] = [(":files", "")]  # the shell completes names of files itself
SHOWN = 200  # names of nodes and jobs
PATIENCE = 1.0  # seconds for the server
OPEN_JOBS, FINAL_JOBS = ("wait-job", "cancel-job"), ("resume", "purge-jobs")
STATES = {
    "list-nodes": ("online", "offline", "pending", "revoked"),
    "": ("queued", "running", "success", "failed", "cancelled", "incomplete"),
}
Found = list[tuple[str, str]]


def script(settings: Settings) -> int:
    """`--completion SHELL`: print the script of a shell. Raises UsageError: there is none."""
    shell = settings.words[0]
    if shell not in SCRIPTS:
        raise UsageError(f"--completion: {shell!r} is none of {', '.join(SCRIPTS)}{nearest(shell, tuple(SCRIPTS))}")
    answer((SCRIPTS[shell],))
    return EXIT_OK


def complete(argv: Sequence[str]) -> int:
    """`--complete SHELL WORD...`: print what the last word may become, one a line. For bash the line is one word."""
    shell, *words = argv
    breaks = ""
    if shell == "bash":
        try:
            line = words[0]
            words = [*shlex.split(line)[1:], *([""] if line[-1:].isspace() else [])]
        except ValueError:
            return EXIT_OK  # within quotes
        # bash completes what follows the last of these
        breaks = words[-1][: max(words[-1].rfind(sign) for sign in ":=") + 1]
    found = candidates(words[:-1], words[-1])
    answer(_line(shell, word.removeprefix(breaks), about) for word, about in found)
    return EXIT_OK


def _line(shell: str, word: str, about: str) -> str:
    if shell == "zsh" and word != ":files":
        word = word.replace(":", "\\:")
    between = {"zsh": ":", "fish": "\t"}.get(shell, "")
    return f"{word}{between}{about}\n" if between and about else f"{word}\n"


def candidates(before: Sequence[str], current: str) -> Found:
    """The words that `current` may become, and what they mean; `FILES` for names of files.

    Args:
        before: the words between the program and it.
    """
    action, setting, plain = _situation(before)
    if setting is not None:
        return _values(action, setting, before, current)
    if action is not None and action.name == "exec" and plain and is_bare_verb(plain[0]):
        return FILES
    flag, equals, value = current.partition("=")
    if equals and flag in BY_FLAG:
        return [(word if word == FILES[0][0] else f"{flag}={word}", about)
                for word, about in _values(action, BY_FLAG[flag], before, value)]  # fmt: skip
    if current.startswith("-"):
        usable = [one for one in SETTINGS if action is None or action.name in one.used_by]
        flags = [("--" + one.name, one.help) for one in usable]
        flags += [("--" + one.name, one.help) for one in ACTIONS if action is None] + [("--help", "show the help")]
        return _matching(flags, current)
    if action is None:
        return _matching([(one.command, one.help) for one in ACTIONS], current)
    return _words(action, plain, before, current)


def _situation(before: Sequence[str]) -> tuple[Action | None, Setting | None, list[str]]:
    """The action, the setting whose value comes next, and the words of the action so far."""
    action: Action | None = None
    setting: Setting | None = None
    plain: list[str] = []
    for word in before:
        name = word.partition("=")[0]
        if setting is not None:
            setting = None
        elif name.startswith("--") and name[2:] in BY_COMMAND:
            action = BY_COMMAND[name[2:]]
            plain += [word.partition("=")[2]] if "=" in word else []
        elif name.startswith("-"):
            found = BY_FLAG.get(name) or BY_SHORT.get(word)
            setting = found if found is not None and found.kind != "yesno" and "=" not in word else None
        elif action is None:
            action = BY_COMMAND.get(word)
        else:
            plain.append(word)
    return action, setting, plain


def _values(action: Action | None, setting: Setting, before: Sequence[str], current: str) -> Found:
    if setting.kind == "path":
        return FILES
    if setting.name in ("target", "node", "nodes"):
        return _nodes(before, current)
    states = STATES.get(action.name if action else "", STATES[""]) if setting.name == "state" else ()
    return _matching([(word, "") for word in setting.choices or states], current)


def _words(action: Action, plain: Sequence[str], before: Sequence[str], current: str) -> Found:
    if action.metavar == "JOB":
        return _nodes(before, current) if plain else _jobs(action, before, current)
    if plain and (action.takes == "one" or action.name == "label-node"):
        return []
    if action.metavar == "FILE":
        return FILES
    if action.metavar in ("NODE", "EXPR"):
        return _nodes(before, current)
    if action.metavar == "ID" and action.name != "revoke-token":
        return _jobs(action, before, current)
    if action.metavar == "TEXT":
        from director.verbs import VERBS

        return _matching([(verb, "") for verb in VERBS], current.upper())
    return _matching([(word, "") for word in SCRIPTS], current) if action.name == "completion" else []


def _matching(rows: Iterable[tuple[str, str]], current: str) -> Found:
    return [row for row in rows if row[0].startswith(current)]


def _nodes(before: Sequence[str], current: str) -> Found:
    """Names of nodes for the last name of a target expression."""
    head, name = re.fullmatch(r"(.*[,(\s]|)(.*)", current, re.S).groups()  # type: ignore[union-attr]
    if not re.fullmatch(r"[A-Za-z0-9._-]*", name):
        return []
    request = {"do": "list-nodes", "node": f"{name}*" if name else None, "limit": SHOWN}
    rows = [(str(row["id"]), str(row["state"])) for row in _ask(before, request)]
    return [(head + word, about) for word, about in _matching([*rows, ("all", "every node online now")], name)]


def _jobs(action: Action, before: Sequence[str], current: str) -> Found:
    """Ids of jobs, the newest first."""
    rows = _ask(before, {"do": "list-jobs", "limit": SHOWN})
    if action.name in (*OPEN_JOBS, *FINAL_JOBS):
        rows = [row for row in rows if row["final"] == (action.name in FINAL_JOBS)]
    found = [(str(row["id"]), f"{row['state']} {row['name']}".replace("\n", " ")) for row in reversed(rows)]
    return _matching([*found, ("last", "the newest job")], current)


def _ask(before: Sequence[str], request: dict[str, Any]) -> list[Any]:
    """The rows of an answer of the server; none when it does not answer soon."""
    from director.cli.requests import rows_of

    names = ("--socket-path", "--state-dir", "--config-file")
    place = [f"{flag}={value}" for flag, value in pairwise(before) if flag in names]
    place += [word for word in before if word.partition("=")[0] in names and "=" in word]
    try:
        settings = load(["--list-nodes", *place], os.environ)
        return rows_of(settings.replace(server_timeout=PATIENCE), request)
    except DirectorError:
        return []
