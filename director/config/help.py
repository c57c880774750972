"""`--help`: one screen of actions and examples, one for each action, and one for each group of settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from director.config.commands import BY_COMMAND
from director.config.table import ACTIONS, GROUPS, SETTINGS, Action, Setting

DESCRIPTION = "Asynchronous deployment and operations for the whole life of a data center."
USAGE = "director ACTION [OPTION...]"
AREAS = {
    "run something": ("exec", "orchestrate", "plan", "resume"),
    "look and wait": ("list-jobs", "list-nodes", "job-info", "node-info", "follow", "wait-job", "why"),
    "stop and forget": ("cancel-job", "purge-jobs", "purge-nodes"),
    "server, client, and what is wrong with them": ("server", "client", "doctor", "show-config"),
    "who gets in": (
        *("create-token", "list-tokens", "revoke-token", "accept-node", "reject-node", "renew-node", "revoke-node"),
        *("rotate-key", "label-node"),
    ),
}
MORE = "more"  # the area of every other action
# the first ones are those of the overview
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "exec": (
        ("director --exec 'RUN uptime' --wait", "on every node that is online; wait, show the results"),
        ("director --exec 'RUN uptime' -t 'web-[01-40]'", "on these nodes; print the job's id and return"),
        ("director --exec RUN ls -l /srv", "without quotes: all behind the verb is the instruction"),
        ("director --exec 'COPY --help'", "the manual of a verb"),
    ),
    "orchestrate": (
        ("director --orchestrate site.director -a OWNER=me --wait", "a file of instructions"),
        ("director run site.director -t 'label:tier=web'", "the same by its word, on some nodes"),
    ),
    "plan": (("director --plan site.director", "what would run where and why"),),
    "resume": (("director --resume last --wait", "once more what did not succeed, where it did not"),),
    "list-jobs": (
        ("director --list-jobs --state failed --since 1d", "what failed since yesterday"),
        ("director --list-jobs --node web-01 --since 1d", "what ran on a node since yesterday"),
        ("director --list-jobs --watch", "shown again every two seconds"),
    ),
    "list-nodes": (
        ("director --list-nodes --state offline", "who is away"),
        ("director --list-nodes --node 'fact:os.id=debian' -o json", "for a program"),
    ),
    "job-info": (
        ("director --job-info last", "output and reason of each task of the newest job"),
        ("director --job-info last --failed", "only what did not succeed"),
        ("director --job-info 5c1f", "a unique beginning of the id is enough"),
    ),
    "node-info": (("director --node-info web-01", "its facts, labels and keys"),),
    "follow": (("director --follow last", "the output of the newest job, whoever began it, from its start"),),
    "why": (("director --why last web-01", "what the tasks of a job wait for on a node"),),
    "wait-job": (("director --wait-job last --wait-timeout 5m", "exit 4 when it is not final by then"),),
    "cancel-job": (("director --cancel-job last", "end it on every node at once"),),
    "purge-jobs": (("director --purge-jobs --state success", "forget jobs that went well"),),
    "purge-nodes": (("director --purge-nodes --node 'old-*'", "forget nodes that are offline"),),
    "server": (("director --server", "in the foreground; contrib/systemd has a unit"),),
    "client": (("director --client --server-address the-server.example.com", "in the foreground"),),
    "doctor": (("director --doctor", "on the server's machine or a client's; exit 1 when something has failed"),),
    "show-config": (("director --show-config", "every setting with its source"),),
    "create-token": (("director --create-token --ttl 1d --label tier=web", "DIRECTOR_TOKEN for new clients"),),
    "list-tokens": (("director --list-tokens", "without their secrets"),),
    "revoke-token": (("director --revoke-token 3f2a --with-nodes", "and the nodes that it let in"),),
    "accept-node": (("director --accept-node web-01", "shows the key and asks"),),
    "reject-node": (("director --reject-node web-01", "forgets the key that waits"),),
    "renew-node": (("director --renew-node web-01", "before it is installed anew"),),
    "revoke-node": (("director --revoke-node web-01", "for good"),),
    "rotate-key": (("director --rotate-key 'web-*'", "each node makes itself a new key"),),
    "label-node": (("director --label-node 'web-*' tier=web rack=", "sets one label, removes another"),),
    "verify-audit": (("director --verify-audit", "on the server's machine or anywhere that commands it"),),
    "export-jobs": (("director --export-jobs jobs.yaml", "or .json, or - for standard output"),),
    "export-nodes": (("director --export-nodes nodes.json", "with their facts"),),
    "completion": (('eval "$(director --completion bash)"', "in ~/.bashrc; zsh and fish: see docs/operations.md"),),
    "version": (("director --version", "of this program"),),
}
SHOWN_FIRST = ("exec", "orchestrate", "list-jobs", "job-info")
EXIT_CODES = {
    0: "all well",
    1: "a task failed, timed out or was lost; or the server or client could not start",
    2: "usage error, or a file, source or setting that cannot be read or parsed",
    3: "no server at the socket, or it gave no sign of life for --server-timeout",
    4: "--wait-timeout passed; the job goes on",
    5: "a target matches nothing, names an unknown node, or is not of --expect-nodes",
    6: "no such job or node",
    7: "not permitted, by the socket or by a role; or not the pinned key",
    8: "nothing failed, but some tasks were cancelled or expired",
    130: "interrupted; the job goes on and its id is printed",
}


def page(action: str, words: Sequence[str] = ()) -> str:
    """What `--help` prints.

    Args:
        action: the action of the call, "" for none.
        words: the other words: the name of a group, or `all`.
    """
    if action:
        return "".join(_of_action(BY_COMMAND[action]))
    groups = [group for group in GROUPS if group in words or "all" in words]
    if groups and "all" not in words:
        return "".join(text for group in groups for text in _group(group, SETTINGS))
    return overview() + "".join("\n" + text for group in groups for text in _group(group, SETTINGS))


def overview() -> str:
    """All actions by area, examples, and where to read on."""
    return "".join(_overview())


def areas() -> dict[str, list[Action]]:
    """The actions of each area."""
    found = {area: [BY_COMMAND[name] for name in names] for area, names in AREAS.items()}
    named = {name for names in AREAS.values() for name in names}
    return {**found, MORE: [action for action in ACTIONS if action.name not in named]}


def _overview() -> Iterator[str]:
    yield f"{DESCRIPTION}\n\n  {USAGE}\n"
    for area, actions in areas().items():
        yield f"\n{area}:\n"
        yield from columns([(spelling(action), action.command, action.help) for action in actions])
    yield "\nexamples:\n"
    yield from columns([example for name in SHOWN_FIRST for example in EXAMPLES[name][:1]])
    yield "\nThe second column is the same as a word: `director jobs` is `director --list-jobs`.\n"
    yield "Read on: director ACTION --help (its options and examples), director --help server|client|user|common|all\n"
    yield "(settings), director --exec 'VERB --help' (an instruction), and the manual page director(1).\n"


def _of_action(action: Action) -> Iterator[str]:
    yield f"director {spelling(action)} [OPTION...]\n"
    yield f"director {' '.join(filter(None, (action.command, takes(action))))} [OPTION...]\n\n"
    yield f"{action.help[0].upper()}{action.help[1:]}.\n"
    if examples := EXAMPLES.get(action.name):
        yield "\nexamples:\n"
        yield from columns(examples)
    usable = [setting for setting in SETTINGS if action.name in setting.used_by]
    for group in GROUPS:
        if any(setting.group == group for setting in usable):
            yield "\n"
            yield from _group(group, usable)


def _group(group: str, settings: Iterable[Setting]) -> Iterator[str]:
    yield f"{GROUPS[group]}:\n"
    yield from columns([(flags(setting), text_of(setting)) for setting in settings if setting.group == group])


def spelling(action: Action) -> str:
    """`--list-jobs [ID...]`."""
    return " ".join(filter(None, ("--" + action.name, takes(action))))


def takes(action: Action) -> str:
    """The words of an action: `ID`, `ID...` or `[ID...]`."""
    form = {"none": "", "one": "{}", "some": "{}...", "any": "[{}...]"}[action.takes]
    return form.format(action.metavar)


def flags(setting: Setting) -> str:
    """`-t, --target EXPR`."""
    names = [*(["-" + setting.short] if setting.short else []), *("--" + name for name in setting.names)]
    return ", ".join(names) + ("" if setting.kind == "yesno" else f" {setting.metavar}")


def text_of(setting: Setting) -> str:
    """What a setting does, and its default."""
    default = shown_default(setting)
    return f"{setting.help} (default: {default})" if default else setting.help


def shown_default(setting: Setting) -> str:
    """The default as the help shows it; "" when it shows none."""
    if setting.shown or setting.kind in ("list", "words", "pairs", "yesno"):
        return setting.shown
    return "" if setting.default is None else str(setting.default)


def columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of rows whose last cell is wrapped; a first cell that is too long has a line of its own."""
    import textwrap

    rows = list(rows)
    middle = [max((len(row[at]) for row in rows), default=0) for at in range(1, max(map(len, rows), default=1) - 1)]
    first = min(30 if middle else 50, max((len(row[0]) for row in rows), default=0))
    indent = " " * (4 + first + sum(width + 2 for width in middle))
    width = max(len(indent) + 30, _width())
    for row in rows:
        cells = [f"{cell:<{size}}  " for cell, size in zip(row[1:-1], middle, strict=True)]
        text = textwrap.fill(
            "".join(cells) + row[-1], width, initial_indent=" " * (4 + first), subsequent_indent=indent
        )
        if len(row[0]) > first:
            yield f"  {row[0]}\n{text}\n"
        else:
            yield f"  {row[0]:<{first}}{text[2 + first :]}\n"


def _width() -> int:
    """The columns of the terminal, at most 120."""
    try:
        return max(60, min(120, os.get_terminal_size().columns or 100) - 1)
    except OSError:
        return 100
