"""What a node refuses to do, by the settings of its client, whatever the server asks for."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from director import verbs
from director.agent.job_runner import Step
from director.agent.local_node import LocalNode
from director.config.settings import Settings
from director.config.values import nearest
from director.errors import RefusedError, UsageError
from director.verbs.base import Verb

COMMANDS = frozenset(("cmd", "argv"))  # of the body of a step that runs a command
OWN = "own"  # in the settings: every verb that the operator wrote


@dataclass(frozen=True, slots=True)
class NodeRules:
    """The rules of one node.

    Attributes:
        allow, deny: names of verbs, without aliases, or `OWN`; None for `allow` is every verb.
        read_only: nothing on the node may be changed, and no command run.
        user: the user that everything runs as, "" for any.
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    read_only: bool = False
    user: str = ""

    def check_name(self, step: Step) -> None:
        """Check what can be known before the file of an own verb is run. Raises RefusedError."""
        verb: str = step["verb"]
        name = OWN if "own" in step else verbs.ALIASES.get(verb, verb)
        self._check_named(name, verb)
        if self.read_only and name == OWN:
            raise RefusedError(f"this node runs no verbs of the operator (--read-only), so not {verb}")

    def check_step(self, verb: Verb, step: Step) -> None:
        """Check what a verb does with the body of a step. Raises RefusedError."""
        if "own" not in step and not step["body"].keys().isdisjoint(COMMANDS):
            self._check_named(verbs.RUNS_COMMANDS, f"{verbs.RUNS_COMMANDS}, and no commands of {step['verb']}")
        if self.read_only and not verb.only_reads(step["body"]):
            raise RefusedError(f"this node runs nothing that may change it (--read-only), so not {step['verb']}")

    def check_user(self, step: Step, node: LocalNode) -> None:
        """Check the user that a step names, before it is used. Raises RefusedError, VerbError."""
        if not self.user or "own" in step:  # an own verb may mean something else; what it runs is checked later
            return
        if user := step["flags"].get("user") or node.word(step["body"].get("user") or ""):
            node.identity(user)

    def check_giving(self) -> None:
        """Check whether files of this node may go to other machines. Raises RefusedError."""
        self._check_named(verbs.GIVES_FILES, f"{verbs.GIVES_FILES}, and gives no files to others")

    def _check_named(self, name: str, shown: str) -> None:
        if name in self.deny:
            raise RefusedError(f"this node does not run {shown} (--deny-verbs)")
        if self.allow is not None and name not in self.allow:
            raise RefusedError(f"this node does not run {shown} (--allow-verbs)")


def rules_of(settings: Settings) -> NodeRules:
    """The rules in the settings of a client. Raises UsageError: a setting names an unknown verb, or no usable user."""
    allow = _names("allow-verbs", settings.allow_verbs)
    user = settings.no_root or ""
    if user:
        _check_account(user)
    return NodeRules(allow or None, _names("deny-verbs", settings.deny_verbs), settings.read_only, user)


def _names(setting: str, words: Sequence[str]) -> frozenset[str]:
    known: dict[str, Any] = {**verbs.VERBS, **verbs.ALIASES}
    found = set()
    for word in words:
        name = OWN if word == OWN else word.upper()
        if name != OWN and name not in known:
            hint = nearest(name, [*known, OWN]) or f"; {OWN} names all verbs of the operator"
            raise UsageError(f"--{setting}: there is no verb {word}{hint}")
        found.add(verbs.ALIASES.get(name, name))
    return frozenset(found)


def _check_account(name: str) -> None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"--no-root: there is no user {name} on this machine") from None
    if not entry.pw_uid:
        raise UsageError(f"--no-root: {name} is root; expected another user")
    if os.geteuid() not in (0, entry.pw_uid):
        raise UsageError(f"--no-root: only root can become {name}; start the client as root or as {name}")
