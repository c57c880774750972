"""What a step sees of this machine without changing it: rendered texts, users; the base of the nodes that verbs get."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from director import labels as node_labels
from director.agent.environment import shared
from director.agent.job_runner import Step
from director.errors import RefusedError, VerbError
from director.globs import shielded, unshielded
from director.language.braces import present
from director.language.origin import QUERY
from director.language.scope import Scope
from director.language.substitution import render_shell, render_text, render_word
from director.language.types import Names
from director.runtime.greenlets import Pace
from director.transfer.unfinished import Unfinished

NO_ID = 0xFFFFFFFF  # as a uid or gid it means "leave it as it is"


class LocalNode:
    """Renders the texts of one step; see `verbs.base.Node`.

    Args:
        labels: that the server says the node has; those that the job set count too.
        env: the environment that the client's processes begin with; `$X` falls back to it.
        only_user: the user that everything on this node runs as, "" for any.
    """

    __slots__ = (
        "_env",
        "_names",
        "_only_user",
        "_pace",
        "_step",
        "_used",
        "facts",
        "job",
        "labels",
        "name",
        "scope",
        "unfinished",
    )

    def __init__(
        self, name: str, facts: Mapping[str, Any], labels: Mapping[str, str], env: Mapping[bytes, bytes],
        job: str, scope: Scope, step: Step, only_user: str = "",
    ) -> None:  # fmt: skip
        self.name, self.facts = name, facts
        self.labels = node_labels.changed(labels, scope.labels) if scope.labels else labels
        self.job, self.scope = job, scope
        self._env, self._step, self._only_user = env, step, only_user
        self.unfinished: Unfinished | None = None
        self._names: Names | None = None
        self._pace = Pace()
        self._used: set[str] = set()

    def text(self, raw: str) -> str:
        """Render braces only."""
        return render_text(raw, self._namespace()) if present(raw) and self._braces else raw

    def shell(self, raw: str) -> str:
        """Render braces only, in text that a shell reads."""
        return render_shell(raw, self._namespace()) if present(raw) and self._braces else raw

    def word(self, raw: str, escape: str = "\\") -> str:
        """Render braces and `$X`, and take quotes and escapes away."""
        return render_word(raw, self._namespace(), self._dollar, escape, braces=self._braces)

    def document(self, raw: str) -> str:
        """Render braces and `$X`; quotes stay."""
        return render_word(raw, self._with_secrets(), self._dollar, quotes=False, braces=self._braces)

    def blueprint(self, source: str) -> str:
        """Render a file's text as one template."""
        return render_text(source, self._with_secrets())

    def pattern(self, raw: str, escape: str = "\\") -> str:
        """Render a glob; the stars in values mean themselves."""

        def dollar(name: str) -> str | None:
            text = self._dollar(name)
            return None if text is None else shielded(text)

        names = self._namespace_of({name: shielded(text) for name, text in self.scope.texts().items()})
        return unshielded(render_word(raw, names, dollar, escape, braces=self._braces))

    def render(self, raw: str, kind: str) -> str:
        """Render as the verb does; `kind` is one of those of `Verb.raws`."""
        method: Callable[[str], str] = getattr(self, kind)
        return method(raw)

    def secret(self, name: str) -> bytes:
        """The value of a secret. Raises VerbError: the step has none."""
        raise VerbError(f"the secret {name} was not given to this step")

    def hide(self, text: str) -> str:
        """The text with all secrets of the job masked."""
        return text

    def identity(self, user: str) -> tuple[int, int]:
        """uid and gid of `user[:group]`.

        Raises:
            VerbError: this machine does not know the name. RefusedError: the node runs everything as another user.
        """
        uid, gid = numbers_of(user)
        if self._only_user and uid != os.geteuid():
            raise RefusedError(f"this node runs everything as {self._only_user} (--no-root), so nothing as {user}")
        return uid, gid

    def breathe(self) -> None:
        """Let other greenlets run, when this step has run for a while."""
        self._pace.pause()

    @property
    def _braces(self) -> bool:
        return not self._step["flags"].get("raw")

    def hear(self) -> None:
        """Note that the step was told something by other nodes."""
        self._used.add(QUERY)

    def relays(self, mentioned: Iterable[str] = ()) -> bool:
        """Whether the step's texts used what other nodes said so far, or a name of `mentioned` has it."""
        relayed = self._namespace().relayed()
        return not (relayed.isdisjoint(self._used) and (relayed - {QUERY}).isdisjoint(mentioned))

    def _namespace(self) -> Names:
        if self._names is None:
            self._names = self._namespace_of(self.scope.texts())
        return self._names

    def _with_secrets(self) -> Names:
        """The names that a text for a file may use."""
        return self._namespace_of(self.scope.texts(), self._secret_text)

    def _namespace_of(self, texts: Mapping[str, str], secret: Callable[[str], str] | None = None) -> Names:
        node = {"id": self.name, "labels": dict(self.labels)}
        return Names(texts, self.facts, node, self.scope.query, self.scope.quoted, self._used, secret)

    def _secret_text(self, name: str) -> str:
        """A secret in a template, without the line breaks at its end. Raises VerbError."""
        try:
            return self.secret(name).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise VerbError(f"the secret {name} is no UTF-8 text, so no template can have it") from None

    def _dollar(self, name: str) -> str | None:
        self._used.add(name)
        value = self.scope.dollars().get(name)
        if value is not None:
            return value
        env = shared(self._env) if self.scope.user and self._runs_as_other() else self._env
        inherited = env.get(os.fsencode(name))
        return None if inherited is None else os.fsdecode(inherited)

    def _runs_as_other(self) -> bool:
        """Whether USER names another user than the client's; one that is unknown fails when a command is run."""
        try:
            return numbers_of(self.scope.user)[0] != os.geteuid()
        except VerbError:
            return True


def numbers_of(user: str) -> tuple[int, int]:
    """uid and gid of `user[:group]` on this machine. Raises VerbError for a name that it does not know."""
    name, _, group = user.partition(":")
    uid, gid = os.geteuid(), os.getegid()
    if name:
        uid, gid = _user(name)
    if group:
        gid = _number(group) if group.isdigit() else _group(group)
    return uid, gid


def _number(text: str) -> int:
    """The number of a user or group; the kernel takes the highest one as none."""
    if len(text) > 10 or int(text) >= NO_ID:
        raise VerbError(f"{text} is no number of a user or group; expected one below {NO_ID}")
    return int(text)


def _user(name: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwuid(_number(name)) if name.isdigit() else pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid
    except KeyError:
        if name.isdigit():
            return int(name), int(name)
        raise VerbError(f"there is no user {name} on this node") from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise VerbError(f"there is no group {name} on this node") from None
