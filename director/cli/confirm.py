"""Asks before much is done at once: only on a terminal, so that scripts never wait for an answer."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping

from director import Any
from director.cli.output import note
from director.config.settings import Settings
from director.errors import UsageError

NUMBER_ABOVE = 10  # what is purged, revoked or restarted at once without typing the number


def can_ask(settings: Settings) -> bool:
    """Whether somebody is there to be asked, and has not said --yes."""
    return not settings.yes and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def guard(settings: Settings) -> dict[str, Any]:
    """The field `guard` of a submission, {} for none."""
    if settings.expect_nodes is not None:
        return {"guard": {"expect": settings.expect_nodes}}
    return {"guard": {"ask_above": settings.confirm_above}} if can_ask(settings) else {}


def confirm_job(settings: Settings, question: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the question that the server answers to a submission; the field `guard` with which it is sent again.

    Raises:
        UsageError: the answer is no.
    """
    from director.node_sets import fold

    nodes, reboots = question["nodes"], question["reboots"]
    count = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    note(f"this runs on {count}: {fold(nodes)}")
    if reboots > NUMBER_ABOVE:
        confirm_number(settings, reboots, f"it restarts {reboots} of them")
    else:
        ask_yes(f"run it on {count}?", "nothing was run")
    return {"guard": {"expect": len(nodes)}}


def ask_yes(question: str, otherwise: str = "nothing was changed") -> None:
    """Ask for `y`. Raises UsageError with the text `otherwise`: it is another answer, or none."""
    if _answer(f"{question} [y/N] ").lower() not in ("y", "yes"):
        raise UsageError(otherwise)


def confirm_number(settings: Settings, count: int, what: str) -> None:
    """Ask for the number when it is large, and somebody can be asked.

    Args:
        what: what happens, with the number.

    Raises:
        UsageError: another answer, or none.
    """
    if count > NUMBER_ABOVE and can_ask(settings) and _answer(f"{what}; type the number to go on: ") != str(count):
        raise UsageError("that is not the number; nothing was changed")


def confirm_nodes(settings: Settings, names: Collection[str], what: str) -> str:
    """Name many nodes and ask for their number, as `confirm_number`; the target expression of just these nodes."""
    from director.node_sets import fold

    folded = fold(names)
    if len(names) > NUMBER_ABOVE:
        note(f"{what} {folded}")
    confirm_number(settings, len(names), f"{what} {len(names)} nodes")
    return folded


def _answer(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
