"""Messages for words that have no meaning here: the similar name, or what to use instead."""

from __future__ import annotations

from collections.abc import Iterable

_COMMAND = "has no meaning here: nodes have no start command; use RUN to run one, SERVICE for a daemon"
ELSEWHERE = {
    "CMD": _COMMAND,
    "ENTRYPOINT": _COMMAND,
    "VOLUME": "has no meaning here: nodes have no volumes; use WORKDIR or RUN mkdir -p to make a folder",
    "STOPSIGNAL": "has no meaning here: set KillSignal= in the unit's file and use SERVICE",
    "MAINTAINER": "has no meaning here; use LABEL maintainer=NAME",
    "ONBUILD": "has no meaning here: nodes are not built on; write the instruction itself where it is needed",
    "CONTAINER_IMAGE": "is no verb of Director; use RUN podman …",
    "POD": "is no verb of Director; use RUN podman …",
    "SECONTEXT": "is no verb of Director; use RUN semanage …",
    "FACTER": "is no verb of Director; use {{ facts }}, or write a verb of your own",
    "JOB_WAIT": "is not needed: steps run in order; leave it out",
    "QUERY_WAIT": "is not needed: steps run in order; leave it out",
    "QUEUESENTINEL": "is no verb of Director; use director --cancel-job ID",
}


def unknown(word: str, verbs: Iterable[str]) -> str:
    """The message for an instruction that is none of `verbs` (upper case)."""
    name = word.upper()
    if name in ELSEWHERE:
        return f"{name} {ELSEWHERE[name]}"
    return f"unknown instruction {word[:64]!r}{hint(name, verbs)}"


def hint(word: str, names: Iterable[str], prefix: str = "") -> str:
    """`; did you mean X?`, or `; expected one of X, Y, Z` when no name is similar."""
    import difflib

    known = sorted(set(names))
    near = difflib.get_close_matches(word[:64], known, 1, 0.5)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; expected one of {', '.join(prefix + name for name in known)}" if known else ""
