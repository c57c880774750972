"""The table of verbs: each row names a module and a class, which is imported at its first use."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module

from director.verbs.base import Verb

VERBS: dict[str, str] = {
    "ADD": "add:Add",
    "ARG": "values:Arg",
    "CACHEEVICT": "cacheevict:CacheEvict",
    "CACHEFILE": "values:CacheFile",
    "COPY": "copy:Copy",
    "ECHO": "echo:Echo",
    "ENV": "values:Env",
    "EXPOSE": "expose:Expose",
    "FETCH": "fetch:Fetch",
    "FROM": "stage:From",
    "HEALTHCHECK": "probes:HealthCheck",
    "LABEL": "values:Label",
    "PACKAGE": "package:Package",
    "QUERY": "query:Query",
    "REBOOT": "reboot:Reboot",
    "RUN": "run:Run",
    "SERVICE": "service:Service",
    "SHELL": "stage:Shell",
    "USER": "stage:User",
    "WAIT": "probes:Wait",
    "WORKDIR": "stage:Workdir",
}
ALIASES = {"APT": "PACKAGE", "DNF": "PACKAGE"}
GIVES_FILES = "FETCH"  # a node that refuses it gives no files to `COPY --from` either
RUNS_COMMANDS = "RUN"  # the verb that a node must not refuse to run commands of others


_own: dict[str, Verb] = {}


def adopt(found: Mapping[str, Verb]) -> None:
    """Replace the operator's own verbs by these."""
    _own.clear()
    _own.update(found)


def load(name: str) -> Verb:
    """The verb of this name or alias (upper case). Raises KeyError when there is none."""
    return _own[name] if name in _own else _load(name)


def every() -> dict[str, Verb]:
    """All verbs by name and alias, own verbs included."""
    return {name: load(name) for name in (*VERBS, *ALIASES, *_own)}


@functools.cache
def _load(name: str) -> Verb:
    module, _, cls = VERBS[ALIASES.get(name, name)].partition(":")
    verb: Verb = getattr(import_module(f"director.verbs.{module}"), cls)()
    return verb


def manual(name: str) -> str:
    """The manual of a verb or alias as plain text. Raises KeyError when there is none."""
    from director.verbs.manuals import text_of

    return text_of(load(name.upper()))
