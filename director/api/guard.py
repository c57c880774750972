"""The guard of a submission: how many nodes it may reach without a question, and how many it must reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from director.errors import DirectorError, NoTargetError
from director.scheduler.blocks import nodes_of, stage_nodes

REBOOTS = 10  # nodes that a submission may restart without a question


class UnconfirmedError(DirectorError):
    """The submission is for more nodes than its caller has confirmed; nothing was accepted.

    Attributes:
        question: `{"nodes": [names], "reboots": n}`: the nodes it is for, and how many of them it restarts.
    """

    def __init__(self, question: dict[str, Any]) -> None:
        self.question = question
        super().__init__(f"{len(question['nodes'])} nodes are not confirmed")


@dataclass(frozen=True, slots=True)
class Guard:
    """What a submission needs to be accepted.

    Attributes:
        ask_above: it is for at most so many nodes (0: for any number) and restarts at most `REBOOTS`; None: no guard.
        expect: the number of nodes that it is for; None: any.
    """

    ask_above: int | None = None
    expect: int | None = None

    def check(self, plans: Iterable[Mapping[str, Any]]) -> None:
        """Check the metas of the plans of a submission, before any is accepted.

        Raises:
            NoTargetError: they are for another number of nodes than expected.
            UnconfirmedError: they are for more than may be without a question.
        """
        if self.expect is None and self.ask_above is None:
            return
        plans = list(plans)
        nodes = {name for meta in plans for name in stage_nodes(meta)}
        if self.expect is not None:
            if len(nodes) != self.expect:
                is_now = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
                raise NoTargetError(f"the target is {is_now} now, not {self.expect} (--expect-nodes); nothing was run")
            return
        restarted = {name for meta in plans for name in _restarted(meta)}
        if 0 < (self.ask_above or 0) < len(nodes) or len(restarted) > REBOOTS:
            raise UnconfirmedError({"nodes": sorted(nodes), "reboots": len(restarted)})


def _restarted(meta: Mapping[str, Any]) -> Iterable[str]:
    """The nodes that have a REBOOT in a plan."""
    for block in meta["blocks"]:
        if any(block["first"] <= step <= block["last"] for step in meta.get("reboots", ())):
            yield from nodes_of(meta, block)
