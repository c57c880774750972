"""Messages for instructions of other languages, which have no meaning here."""

from __future__ import annotations

from collections.abc import Iterable

from director.language.nearest import hint

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
