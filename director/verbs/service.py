"""SERVICE: starts, stops and enables system services with systemd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from director.errors import VerbError
from director.states import SUCCESS
from director.verbs.arguments import Words, rendered_words
from director.verbs.base import Flag, Node, Outcome, Verb, cached, success

_PROGRAM = ("systemctl", "--no-ask-password")
_ENABLED = frozenset(("enabled", "enabled-runtime", "static", "alias", "indirect", "generated"))  # as `is-enabled`
_ACTIVE = frozenset(("active", "reloading", "activating"))


class Service(Verb):
    """SERVICE UNIT…: start services, or restart, reload or stop them, and set whether they start at boot.

    systemd is asked each time whether a unit is started, stopped, enabled, disabled, masked or unmasked. Only what
    differs is changed, and the step is `cached` when nothing does. `--mask` alone starts nothing. `--restarted`,
    `--reloaded` and `--daemon-reload` are actions: in an orchestration file they are done only when the step or one
    before it has changed since it ran last. So a restart behind a COPY happens when the COPY changed something.

        SERVICE nginx
        SERVICE --restarted --enable --daemon-reload app.service worker.service
    """

    name = "SERVICE"
    argument = Words("SERVICE needs a unit; expected SERVICE UNIT…")
    exclusive = (("restarted", "reloaded", "stopped"), ("enable", "disable"), ("mask", "unmask"))
    compares = True
    actions = frozenset(("restarted", "reloaded", "daemon-reload"))
    flags = (
        Flag("restarted", "bool", "restart them", default=False),
        Flag("reloaded", "bool", "make them read their settings again", default=False),
        Flag("stopped", "bool", "stop them", default=False),
        Flag("enable", "bool", "start at boot", default=False),
        Flag("disable", "bool", "do not start at boot", default=False),
        Flag("mask", "bool", "make it impossible to start them", default=False),
        Flag("unmask", "bool", "make it possible to start them", default=False),
        Flag("daemon-reload", "bool", "first make systemd read its unit files again", default=False),
        Flag("retry", "count", "attempts in all, with growing pauses", aliases=("retries",), metavar="N"),
    )

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Each unit in turn."""
        units = _units(body, node)
        done = [_systemctl(node, "daemon-reload")] if flags.get("daemon-reload") else []
        for unit in units:
            done += [_systemctl(node, *words) for words in _calls(unit, flags, node)]
        return success("\n".join(done)) if done else cached()

    def foresee(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome | None:
        """The systemctl calls; None when a unit is unknown before a daemon-reload."""
        calls = ["daemon-reload"] if flags.get("daemon-reload") else []
        try:
            calls += [" ".join(words) for unit in _units(body, node) for words in _calls(unit, flags, node)]
        except NoUnitError:
            if calls:
                return None
            raise
        return Outcome(reason=f"systemctl {', '.join(calls)}") if calls else cached()


class NoUnitError(VerbError):
    """systemd knows no such unit."""


def _units(body: Mapping[str, Any], node: Node) -> list[str]:
    units = rendered_words(body, node, "unit")
    for unit in units:
        if unit.startswith("-"):
            raise VerbError(f"{unit!r} is no unit")
    return units


def _calls(unit: str, flags: Mapping[str, Any], node: Node) -> list[tuple[str, str]]:
    """The systemctl calls that the flags need. Raises NoUnitError."""
    state = _show(unit, node)
    if state.get("LoadState") == "not-found" and not flags.get("mask"):
        raise NoUnitError(f"{unit}: no such unit on this node")
    return list(_actions(unit, flags, state))


def _actions(unit: str, flags: Mapping[str, Any], state: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The calls for a unit in `state`; a restart or reload given as False was done before: then start nothing."""
    file_state, active = state.get("UnitFileState", ""), state.get("ActiveState") in _ACTIVE
    masked = file_state.startswith("masked") or state.get("LoadState") == "masked"
    if flags.get("unmask") and masked:
        yield "unmask", unit
    if flags.get("enable") and file_state not in _ENABLED:
        yield "enable", unit
    if flags.get("disable") and file_state.startswith("enabled"):
        yield "disable", unit
    if flags.get("stopped"):
        if active or state.get("ActiveState") == "failed":
            yield "stop", unit
    elif "restarted" in flags:
        yield from [("restart", unit)] if flags["restarted"] else ()
    elif "reloaded" in flags:
        yield from [("reload", unit)] if flags["reloaded"] else ()
    elif not active and not flags.get("mask"):
        yield "start", unit
    if flags.get("mask") and not masked:
        yield "mask", unit


def _show(unit: str, node: Node) -> dict[str, str]:
    words = ("show", "--property=LoadState,ActiveState,UnitFileState", "--", unit)
    outcome = _checked(node.run([*_PROGRAM, *words], user="", cwd="/", looks=True), words)
    lines = outcome.stdout.decode("utf-8", "replace").splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def _systemctl(node: Node, *words: str) -> str:
    _checked(node.run([*_PROGRAM, *words], user="", cwd="/"), words)
    return " ".join(words)


def _checked(outcome: Outcome, words: Sequence[str]) -> Outcome:
    if outcome.exit_code == 127:
        raise VerbError("systemctl is not on this node: SERVICE needs systemd")
    if outcome.state != SUCCESS:
        said = outcome.stderr.decode("utf-8", "replace").strip().splitlines()
        raise VerbError(f"systemctl {' '.join(words)}: {said[0] if said else outcome.reason}")
    return outcome
