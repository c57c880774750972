"""The table of verbs: each row names the class, which is imported when it is needed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from director.verbs.base import COMMON_FLAGS, Flag, Verb

if TYPE_CHECKING:
    from director.verbs.own import Source

VERBS: dict[str, str] = {
    "ADD": "add:Add",
    "ARG": "arg:Arg",
    "CACHEEVICT": "cacheevict:CacheEvict",
    "CACHEFILE": "cachefile:CacheFile",
    "COPY": "copy:Copy",
    "ECHO": "echo:Echo",
    "ENV": "env:Env",
    "EXPOSE": "expose:Expose",
    "FETCH": "fetch:Fetch",
    "FROM": "stage:From",
    "HEALTHCHECK": "healthcheck:HealthCheck",
    "LABEL": "label:Label",
    "PACKAGE": "package:Package",
    "QUERY": "query:Query",
    "REBOOT": "reboot:Reboot",
    "RUN": "run:Run",
    "SERVICE": "service:Service",
    "SHELL": "shell:Shell",
    "USER": "user:User",
    "WAIT": "wait:Wait",
    "WORKDIR": "workdir:Workdir",
}
ALIASES = {"APT": "PACKAGE", "DNF": "PACKAGE"}


_own: dict[str, tuple[Verb, Source | None]] = {}


def adopt(found: Mapping[str, tuple[Verb, Source | None]]) -> None:
    """From now on these are the operator's own verbs, instead of those before."""
    _own.clear()
    _own.update(found)


def load(name: str) -> Verb:
    """The verb of this name or alias (upper case). Raises KeyError when there is none."""
    return _own[name][0] if name in _own else _load(name)


def source_of(name: str) -> Source | None:
    """The file of an own verb; None for Director's."""
    return _own[name][1] if name in _own else None


def flag_table() -> Mapping[str, Mapping[str, Flag]]:
    """For each verb and alias its flags by name and alias; a verb's own flag beats the common one of the name."""
    if not _own:
        return _flag_table()
    from director.verbs.own import Broken, BrokenFlags

    own = {name: verb for name, (verb, _) in _own.items()}
    tables = {n: BrokenFlags(verb) if isinstance(verb, Broken) else flags_of(verb) for n, verb in own.items()}
    return {**_flag_table(), **tables}


@functools.cache
def _load(name: str) -> Verb:
    module, _, cls = VERBS[ALIASES.get(name, name)].partition(":")
    verb: Verb = getattr(import_module(f"director.verbs.{module}"), cls)()
    return verb


@functools.cache
def _flag_table() -> Mapping[str, Mapping[str, Flag]]:
    return {name: flags_of(_load(name)) for name in (*VERBS, *ALIASES)}


def flags_of(verb: Verb) -> dict[str, Flag]:
    """The verb's flags by name and alias."""
    table = {flag.name: flag for flag in (*COMMON_FLAGS, *verb.flags)}
    for flag in verb.flags:
        table.update(dict.fromkeys(flag.aliases, flag))
    return table


def manual(name: str) -> str:
    """The manual of a verb or alias as plain text. Raises KeyError when there is none."""
    from director.verbs.manuals import text_of

    return text_of(load(name.upper()))
