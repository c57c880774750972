"""Why tasks are where they are, as `--why` shows it: what each node waits for, then what did not end well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from director import Any
from director.node_sets import fold
from director.report.jobs import job_line
from director.report.screen import PLAIN, Screen
from director.report.tables import aligned
from director.report.text import ago, cell, moment, seconds

Row = Mapping[str, Any]

_FIELDS = ("node", "number", "state", "why", "since", "until", "sent_at", "moves")  # of CSV
_TITLES = ("STEP", "STATE", "BEGAN", "TIME", "ATTEMPT", "TEXT", "REASON")
_ALIKE = ("number", "state", "why")


def render_why(found: Row, format: str, header: bool = True, screen: Screen = PLAIN) -> Iterator[str]:
    """The answer of `--why`; JSON and YAML have all of it, JSON lines and CSV what nodes wait for."""
    if format == "table":
        return _explained(found, header, screen)
    from director.report.formats import values_as

    return values_as(format, [found], found["waits"], _FIELDS, header)


def _explained(found: Row, header: bool, screen: Screen) -> Iterator[str]:
    yield job_line(found["job"], screen)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found["waits"]:
        groups.setdefault(tuple(map(row.get, _ALIKE)), []).append(row)
    for rows in sorted(groups.values(), key=lambda rows: -len(rows)):
        yield from _waiting(rows, screen)
    tasks = found["tasks"]
    if tasks and "nodes" in tasks[0]:
        for task in tasks:
            yield from _ended(task, screen)
    elif tasks:
        yield "\n"
        table = [list(_TITLES)] if header else []
        yield from aligned(table + [_task(task, screen) for task in tasks], "", screen, _TITLES)


def _waiting(rows: Sequence[Row], screen: Screen) -> Iterator[str]:
    row = rows[0]
    names = cell(fold(str(each["node"]) for each in rows))
    yield f"\n{screen.paint(names, 'bold')}: step {row['number']} is {screen.paint(row['state'], row['state'])}\n"
    yield f"  why    {cell(row['why'])}\n"
    times = [
        (name, min((each[name] for each in rows if each.get(name)), default=None)) for name in ("sent_at", "since")
    ]
    for name, at in (*times, ("until", row.get("until"))):
        if at:
            yield f"  {name.removesuffix('_at'):6} {_time(at, screen)}\n"
    yield f"  moves  {cell(row['moves'])}\n"


def _ended(task: Row, screen: Screen) -> Iterator[str]:
    names = cell(fold(task["nodes"]))
    reason = f": {cell(task['reason'])}" if task["reason"] else ""
    state = screen.paint(task["state"], task["state"])
    yield f"\n{screen.paint(names, 'bold')}: step {task['number']} is {state}{reason}\n"


def _task(task: Row, screen: Screen) -> list[str]:
    text = str(task.get("text") or "").partition("\n")[0]
    reason = cell(task["reason"]) + (" (a late result came)" if task.get("late") else "")
    began = cell(_time(task["started_at"], screen) if task["started_at"] else "")
    time, attempt = seconds(task["execution_time"]), task["attempt"] or None
    return [str(task["number"]), task["state"], began, cell(time), cell(attempt), cell(text), reason]


def _time(at: Any, screen: Screen) -> str:
    return f"{moment(at)} ({ago(at, screen.now)})" if screen.now else moment(at)
