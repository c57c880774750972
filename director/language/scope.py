"""The values that a job has on a node: ARG, ENV, USER, WORKDIR, SHELL, QUERY, LABEL.

The client keeps one scope per lane of a job and changes it only by the effects of steps, so that it can rebuild it
from its journal. Texts of ARG and ENV that are made of what other nodes said are `Relayed`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from director.language.origin import Relayed

RESERVED = frozenset(("node", "facts", "query", "secret"))
_NO_NAME = re.compile(r"[\s=]")
_PROXIES = frozenset(("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"))


def is_proxy(name: str) -> bool:
    """Whether an ARG of this name needs no declaration and is no input of the step cache (DSL.md section 3)."""
    return name.upper() in _PROXIES


def is_arg_name(name: str) -> bool:
    """Whether an ARG may have this name."""
    return bool(name) and name not in RESERVED and not _NO_NAME.search(name)


@dataclass(slots=True)
class Scope:
    """The values of one job on one node, or of one of its lanes.

    Attributes:
        remembered: ARGs that the node keeps from earlier jobs; for templates, not for `$X`.
        args: the text of each ARG that the job set.
        declared: the ARGs that `$X` and the environment of RUN use.
        env: the text of each ENV.
        overrides: `--arg KEY=VALUE`, which beats the file.
        query: `{node: {name: text}}`, set by QUERY.
        quoted: ARGs and ENVs whose value is written in quotes, which makes it text in templates.
        outputs: ARGs that the output of a step set (`--stdout-arg`).
        secret: ARGs and ENVs whose value is secret (`ARG --secret`, or made of a secret).
        hidden: the values of these, which only this scope has: no result, journal or cache does.
        withheld: names of which the value was hidden in an earlier process of the client, or an earlier job.
        labels: set by LABEL steps of the job, before the server has recorded them; an empty text removes one.
        version: grows with every change, for caches of what was made of the values.
        made: the version that the executor used last, whether for another user, and what it made of the values.
    """

    remembered: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    declared: set[str] = field(default_factory=set)
    env: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)
    query: dict[str, dict[str, str]] = field(default_factory=dict)
    quoted: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)
    secret: set[str] = field(default_factory=set)
    hidden: dict[str, str] = field(default_factory=dict, repr=False)
    withheld: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    shell: list[str] = field(default_factory=list)
    version: int = 0
    made: tuple[int, bool, Any] | None = None

    def apply(self, effects: Mapping[str, Any]) -> None:
        """Apply the effects of a step; the same effects give the same scope, so that a journal can be replayed."""
        for name in effects.get("settled", ()):
            self.overrides.pop(name, None)
        evicted = effects.get("evict", ())
        if "args" in evicted:
            self.remembered.clear()
        if "query" in evicted:
            self.query.clear()
        self.version += 1
        for kind in ("env", "arg"):
            self.quoted.difference_update(effects.get(kind, ()))
        self.quoted.update(effects.get("quoted", ()))
        self.outputs.difference_update(effects.get("arg", ()))
        self.outputs.update(effects.get("output", ()))
        relayed = effects.get("relayed", ())
        for kind, texts in (("env", self.env), ("arg", self.args)):
            given = effects.get(kind, {})
            texts.update({name: Relayed(text) if name in relayed else text for name, text in given.items()})
        self.secret.update(effects.get("secret", ()))
        self.secret.update(effects.get("withheld", ()))
        self.withheld.update(effects.get("withheld", ()))
        self.labels.update(effects.get("labels", {}))
        self.declared.update(effects.get("declare", ()))
        for node, values in effects.get("query", {}).items():
            self.query.setdefault(node, {}).update(values)
        for name in ("user", "workdir", "shell"):
            if name in effects:
                setattr(self, name, effects[name])

    def hide(self, values: Mapping[str, str]) -> None:
        """Take secret values of ARGs and ENVs."""
        self.version += 1
        self.hidden.update(values)
        self.withheld.difference_update(values)

    def place(self) -> dict[str, Any]:
        """USER, WORKDIR and SHELL now, as effects."""
        return {"user": self.user, "workdir": self.workdir, "shell": self.shell}

    def end_stage(self) -> None:
        """Reset USER, WORKDIR and SHELL, which apply to one stage."""
        self.version += 1
        self.user, self.workdir, self.shell = "", "", []

    def copy(self) -> Scope:
        """An independent copy, for a lane."""
        return copy.deepcopy(self)

    def texts(self) -> dict[str, str]:
        """Name to text for templates: remembered ARGs, then the job's, `--arg`, ENV; the later beats the earlier."""
        return {**self.remembered, **self.args, **self.overrides, **self.env, **self.hidden}

    def dollars(self) -> dict[str, str]:
        """Name to text for `$X`: declared ARGs and ENVs."""
        declared = {name: self.args[name] for name in self.declared if name in self.args}
        declared.update((name, self.overrides[name]) for name in self.declared if name in self.overrides)
        proxies = {name: text for name, text in self.overrides.items() if is_proxy(name)}
        return {**proxies, **declared, **self.env, **self.hidden}
