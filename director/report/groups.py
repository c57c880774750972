"""Groups the tasks of a step that have the same result, the largest group first."""

from __future__ import annotations

from functools import lru_cache

from director.node_sets import fold
from director.report.text import cell, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

WELL = ("success", "cached")
_SAME = ("state", "exit_code", "stdout", "stderr", "reason", "truncated")
_OUT, _ERR = "  ", "! "


def grouped(tasks: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The tasks in groups with the same state, exit code, outputs and reason; the order of tasks decides ties."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for task in tasks:
        groups.setdefault((*map(task.get, _SAME), _late(task)), []).append(task)
    return sorted(groups.values(), key=lambda group: -len(group))


def quiet(tasks: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all of the tasks succeeded without output."""
    return all(
        task["state"] in WELL and not task.get("stdout") and not task.get("stderr") and not task.get("late")
        for task in tasks
    )


def group_lines(group: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A heading with the folded names and the state, then the output.

    Each line of output begins with two blanks (stdout) or `! ` (stderr), so that none looks like a heading.
    """
    task = group[0]
    yield f"{_folded(tuple(str(task['node']) for task in group))}: {_state(task)}{_size(group)}\n"
    yield from _prefixed(task.get("stdout"), _OUT)
    yield from _prefixed(task.get("stderr"), _ERR)
    if task.get("truncated"):
        yield f"({task['truncated']} bytes of output left out)\n"
    if late := _late(task):
        yield f"(came late, changes nothing: {late})\n"


@lru_cache(16)
def _folded(names: tuple[str, ...]) -> str:
    """Kept for the next steps of the job, which mostly have the same groups."""
    return cell(fold(names))


def state_text(task: Mapping[str, Any]) -> str:
    """`failed (exit code 3)`."""
    code = task.get("exit_code")
    return str(task["state"]) + (f" (exit code {code})" if code else "")


def _state(task: Mapping[str, Any]) -> str:
    reason = str(task.get("reason") or "")
    state = str(task["state"]) if "exit code" in reason else state_text(task)
    return f"{state}: {cell(reason)}" if reason else state


def _size(group: Sequence[Mapping[str, Any]]) -> str:
    return f" [{len(group)} nodes]" if len(group) > 1 else ""


def _late(task: Mapping[str, Any]) -> str:
    late = task.get("late")
    if not late:
        return ""
    return state_text(late) if isinstance(late, dict) and "state" in late else "yes"


def _prefixed(text: str | None, prefix: str) -> Iterator[str]:
    if not text:
        return
    for line in safe(text.removesuffix("\n")).split("\n"):
        yield f"{prefix}{line}".rstrip(" ") + "\n"
