"""CACHEEVICT: makes a node forget what it keeps between steps and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from director.language.instructions import Instruction
from director.verbs.base import Node, Outcome, Planning, Verb, success

_ALL = ("jobs", "args", "query")
KINDS = {**{kind: (kind,) for kind in _ALL}, "all": _ALL, "envs": (), "parents": ()}


class CacheEvict(Verb):
    """CACHEEVICT jobs|args|query|all: forget what the node keeps.

    `jobs`: the step cache, so that all steps run again; `args`: remembered ARGs; `query`: what QUERY gathered in this
    job; `all`: these three. ARGs and ENVs that the job itself has set stay until its end; labels and files stay for
    good. `envs` and `parents` are accepted and have no effect.

        CACHEEVICT jobs
        CACHEEVICT all
    """

    name = "CACHEEVICT"
    pure = True
    trusts_chain = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`evict` [kind]."""
        text = instruction.text.strip().lower()
        if text not in KINDS:
            raise planning.fail(f"CACHEEVICT does not know {text!r}; expected jobs, args, query or all")
        return {"evict": list(KINDS[text])}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """The effect makes the client forget."""
        return success(evict=body["evict"]) if body["evict"] else success()
