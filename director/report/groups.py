"""Tasks of a step that ended alike, as one group: the largest first, on a terminal the odd ones as what differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from director import Any
from director.node_sets import fold
from director.report.screen import Screen
from director.report.text import cell, clipped, safe, seconds

Task = Mapping[str, Any]

WELL = ("success", "cached")
SHOWN = 20  # groups of one step on a terminal, and lines of stderr of a failure
LINES = 40  # of stdout of one group on a terminal
COMPARED = 2000  # lines of an output that is compared with that of the largest group
_SAME = ("state", "exit_code", "stdout", "stderr", "reason", "truncated")
_OUT, _ERR = "  ", "! "


def grouped(tasks: Iterable[Task]) -> list[list[Task]]:
    """The tasks in groups with the same state, exit code, outputs and reason, the largest group first."""
    groups: dict[tuple[Any, ...], list[Task]] = {}
    for task in tasks:
        groups.setdefault((*map(task.get, _SAME), late_of(task)), []).append(task)
    return sorted(groups.values(), key=lambda group: -len(group))


def quiet(tasks: Iterable[Task]) -> bool:
    """Whether all of the tasks succeeded without output."""
    noise = ("stdout", "stderr", "late")
    return all(task["state"] in WELL and not any(map(task.get, noise)) for task in tasks)


def group_lines(group: Sequence[Task]) -> Iterator[str]:
    """A heading with the folded names and the state, then the output.

    Each line of output begins with two blanks (stdout) or `! ` (stderr), so that none looks like a heading.
    """
    task = group[0]
    yield f"{_folded(group)}: {_state_and_reason(task)}{_size(group)}\n"
    yield from _prefixed(task.get("stdout"), _OUT)
    yield from _prefixed(task.get("stderr"), _ERR)
    yield from _rest(task)


def groups_on(groups: Sequence[Sequence[Task]], screen: Screen) -> Iterator[str]:
    """The groups of one step on a terminal: the first `SHOWN`, those behind the first as what differs from it."""
    largest = groups[0][0] if groups and len(groups[0]) > 1 else None
    for group in groups[:SHOWN]:
        task = group[0]
        yield _heading(group, screen)
        yield from _stdout_on(task, largest, screen)
        yield from _stderr_on(task, screen)
        yield from _rest(task)
    if len(groups) > SHOWN:
        nodes = sum(map(len, groups[SHOWN:]))
        yield (
            screen.paint(f"and {len(groups) - SHOWN} more groups of {nodes} nodes; --per-node shows all", "dim") + "\n"
        )


def _heading(group: Sequence[Task], screen: Screen) -> str:
    task = group[0]
    times = sorted(found for each in group if (found := each.get("execution_time")) is not None)
    spread = seconds(times[0]) if times and seconds(times[0]) == seconds(times[-1]) else ""
    if times and not spread:
        spread = f"{seconds(times[0])} to {seconds(times[-1])}"
    tail = f"{_size(group)}{f' {spread}' if spread else ''}"
    said = _state_and_reason(task, once=True)
    names = _folded(group)
    if task["state"] in WELL and screen.width:
        names = clipped(names, max(20, screen.width - len(said) - len(tail) - 4))
    state, colon, reason = said.partition(":")
    state = screen.paint(state, task["state"])
    return f"{screen.paint(names, 'bold')}: {state}{colon}{reason}{screen.paint(tail, 'dim')}\n"


def _stdout_on(task: Task, largest: Task | None, screen: Screen) -> Iterator[str]:
    text = task.get("stdout") or ""
    if largest is not None and task is not largest and text and largest.get("stdout"):
        changes = _changes(str(largest["stdout"]), text)
        if changes is not None:
            yield from (f"{_OUT}{screen.paint(safe(line), line[0])}\n" for line in changes)
            return
    lines = list(_prefixed(text, _OUT))
    yield from lines[:LINES]
    if len(lines) > LINES:
        yield screen.paint(f"{_OUT}… {len(lines) - LINES} more lines", "dim") + "\n"


def _stderr_on(task: Task, screen: Screen) -> Iterator[str]:
    lines = list(_prefixed(task.get("stderr"), _ERR))
    if len(lines) > SHOWN:
        yield screen.paint(f"{_ERR}… {len(lines) - SHOWN} lines before", "dim") + "\n"
    yield from (screen.paint(_ERR, "failed") + line[len(_ERR) :] for line in lines[-SHOWN:])


def _changes(before: str, after: str) -> list[str] | None:
    """The lines that differ, with `-` or `+` in front; None where they are no shorter than the text itself."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > COMPARED:
        return None
    from difflib import unified_diff

    found = [line for line in unified_diff(old, new, n=0, lineterm="") if not line.startswith(("---", "+++", "@@"))]
    return found if found and len(found) < len(new) else None


def _rest(task: Task) -> Iterator[str]:
    if task.get("truncated"):
        yield f"({task['truncated']} bytes of output left out)\n"
    if late := late_of(task):
        yield f"(came late, changes nothing: {late})\n"


def _state_and_reason(task: Task, once: bool = False) -> str:
    """`failed: exit code 3: cannot`; `once`: without the last line of stderr, which is shown below."""
    reason = str(task.get("reason") or "")
    state = str(task["state"]) if "exit code" in reason else state_of(task)
    if once and task.get("stderr"):
        last = str(task["stderr"]).strip().splitlines()[-1:] or [""]
        reason = reason.removesuffix(f": {last[0][:200]}") if last[0] else reason
    return f"{state}: {cell(reason)}" if reason else state


def _size(group: Sequence[Task]) -> str:
    return f" [{len(group)} nodes]" if len(group) > 1 else ""


def _folded(group: Sequence[Task]) -> str:
    return _folded_names(tuple(str(task["node"]) for task in group))


@lru_cache(16)
def _folded_names(names: tuple[str, ...]) -> str:
    """Kept for the next steps of the job, which mostly have the same groups."""
    return cell(fold(names))


def state_of(task: Task) -> str:
    """`failed (exit code 3)`."""
    code = task.get("exit_code")
    return str(task["state"]) + (f" (exit code {code})" if code else "")


def late_of(task: Task) -> str:
    """The state of a late result, "" without one."""
    late = task.get("late")
    return (state_of(late) if isinstance(late, dict) and "state" in late else "yes") if late else ""


def _prefixed(text: str | None, prefix: str) -> Iterator[str]:
    if text:
        for line in safe(text.removesuffix("\n")).split("\n"):
            yield f"{prefix}{line}".rstrip(" ") + "\n"
