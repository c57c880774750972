"""The JSON that people and scripts see of jobs, made the same way from whatever a store has of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol

import ujson

from director.protocol.framing import Cut
from director.protocol.messages import STEPS_PER_CHUNK
from director.states import (
    CANCELLED,
    COUNT_NAMES,
    EXPIRED,
    FINAL,
    GOOD,
    JOB_FINAL,
    NAMES,
    NONE,
    QUEUED,
    RUNNING,
    SENT,
    SKIPPED,
)
from director.stores.rows import Rest, TaskRow, encode

Overlay = Mapping[str, Any]
PART = 1 << 20


class JobHead(NamedTuple):
    """What a listing needs of a job; `counts` is JSON text, None until the server has told them."""

    id: str
    name: str
    kind: str
    state: str
    step_count: int
    node_count: int
    task_count: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    submitted_by: str
    counts: str | None


class JobView(Protocol):
    """One job as a store has it; a node is known by its position in `nodes`."""

    head: JobHead
    meta: dict[str, Any]
    nodes: list[str]
    sent: list[int]
    rests: dict[int, list[Rest]]

    def chunk(self, n: int) -> bytes:
        """The n-th chunk of encoded steps."""

    def states(self) -> Iterable[tuple[int, int, str]]:
        """(position, step, state letter) of each row."""

    def rows(self, step: int) -> Iterable[tuple[int, TaskRow]]:
        """Results of one step by position, ascending."""

    def late(self, step: int) -> dict[int, TaskRow]:
        """Late results of one step by position."""


def iso(at: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds of epoch seconds; None for None or what no calendar has."""
    if at is None:
        return None
    try:
        second, part = divmod(int(at * 1000 + 0.01), 1000)  # 0.01: what binary fractions fall short of
        return f"{_second(second)}.{part:03}Z"
    except (ValueError, OverflowError, OSError):
        return None


@functools.lru_cache(4096)  # the times of a job share their seconds
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def seconds(value: float | None) -> float | None:
    """A duration in seconds to the microsecond."""
    return None if value is None else round(float(value), 6)


def full_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts with every name the contract has, in its order."""
    return {name: counts.get(name, 0) for name in ("total", *COUNT_NAMES)}


# letters: one bytearray per node, one state letter per step


def members(meta: Mapping[str, Any], steps: int, nodes: Sequence[str]) -> list[bytearray]:
    """For each node the letters of a job nobody has begun: queued where the node has the step, else none."""
    letters = [bytearray(bytes((NONE,)) * steps) for _ in nodes]
    position = {name: index for index, name in enumerate(nodes)}
    for block in meta.get("blocks", ()):
        first, end = block["first"], min(block["last"] + 1, steps)
        names = block.get("nodes")
        for name in meta["stages"][block["stage"]]["nodes"] if names is None else names:
            if name in position:
                letters[position[name]][first:end] = bytes((QUEUED,)) * (end - first)
    return letters


def _not_yet(letter: int) -> int:
    """The letter to show for what ended in memory only; it could still end otherwise if the server died now."""
    if letter in (CANCELLED, EXPIRED, SKIPPED):
        return SENT
    return RUNNING if letter in FINAL else letter


def fold(letters: bytearray, sent: int, rests: Sequence[Rest]) -> bytearray:
    """Mark in `letters` what was sent and what ended by a rest; an earlier rest beats a later one."""
    letters[:sent] = letters[:sent].replace(bytes((QUEUED,)), bytes((SENT,)))
    for rest in reversed(rests):
        for step in range(rest.first, min(rest.last + 1, len(letters))):
            if letters[step] != NONE:
                letters[step] = ord(rest.state)
    return letters


# what memory holds to be over is told when it is on disk: by its row, or by a rest
_NOT_YET = bytes(_not_yet(letter) for letter in range(256))


def known_letters(view: JobView, overlay: Overlay | None) -> list[bytearray]:
    """Letters of each node but for the rows: those of the server's memory, else what the ledger says."""
    live = (overlay or {}).get("nodes") or {}
    letters = members(view.meta, view.head.step_count, view.nodes)
    for index, (name, mine) in enumerate(zip(view.nodes, letters, strict=True)):
        if name in live:
            mine[: len(live[name])] = live[name].encode("ascii").translate(_NOT_YET)[: len(mine)]
        fold(mine, 0 if name in live else view.sent[index], view.rests.get(index, ()))
    return letters


def with_rows(view: JobView, letters: list[bytearray]) -> list[bytearray]:
    """Put the state of each row into `letters`."""
    for index, step, state in view.states():
        if step < len(letters[index]):
            letters[index][step] = ord(state)
    return letters


def counted(view: JobView) -> dict[str, int]:
    """Counts made from the ledger alone, for a job of which the server has told none."""
    counts = dict.fromkeys(("total", *COUNT_NAMES), 0)
    for letters in with_rows(view, known_letters(view, None)):
        counts["total"] += len(letters) - letters.count(NONE)
        for letter, name in NAMES.items():
            counts[name] += letters.count(letter)
    return counts


def succeeded(view: JobView) -> dict[str, bytearray]:
    """For each node one byte per step, 1 where the task succeeded or was cached."""
    table = bytes(letter in GOOD for letter in range(256))
    letters = with_rows(view, known_letters(view, None))
    return {name: mine.translate(table) for name, mine in zip(view.nodes, letters, strict=True)}


# objects


def state_of(head: JobHead, overlay: Overlay | None) -> str:
    """The job's state by name: the ledger's when final, else the server's memory."""
    if head.state in JOB_FINAL or not overlay:
        return head.state
    state: str = overlay.get("state") or head.state
    return state


def job_object(head: JobHead, overlay: Overlay | None, counts: Mapping[str, int]) -> dict[str, Any]:
    """A job as `--list-jobs` shows it."""
    state = state_of(head, overlay)
    begun = head.started_at if head.started_at is not None else (overlay or {}).get("started_at")
    duration = None
    if head.finished_at is not None:
        duration = seconds(max(0.0, head.finished_at - (head.created_at if begun is None else begun)))
    return {
        "id": head.id,
        "name": head.name,
        "kind": head.kind,
        "state": state,
        "final": state in JOB_FINAL,
        "step_count": head.step_count,
        "node_count": head.node_count,
        "tasks": full_counts(counts),
        "created_at": iso(head.created_at),
        "started_at": iso(begun),
        "finished_at": iso(head.finished_at),
        "duration": duration,
        "submitted_by": head.submitted_by,
    }


def known_counts(head: JobHead, overlay: Overlay | None) -> dict[str, int] | None:
    """Counts without a look at the tasks: the server's memory for an open job, else what it told."""
    if head.state not in JOB_FINAL and overlay and overlay.get("tasks"):
        return dict(overlay["tasks"])
    return None if head.counts is None else ujson.loads(head.counts)


def result_object(row: TaskRow) -> dict[str, Any]:
    """What a result says, by the names of the contract."""
    return {
        "state": NAMES[ord(row.state)],
        "exit_code": row.exit_code,
        "stdout": row.output[: row.out_len].decode("utf-8", "replace"),
        "stderr": row.output[row.out_len :].decode("utf-8", "replace"),
        "truncated": row.truncated,
        "reason": row.reason,
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "execution_time": seconds(row.execution_time),
        "roundtrip_time": seconds(row.roundtrip_time),
        "attempt": row.attempt,
    }


def bare_task(letter: int, step: int, rests: Sequence[Rest], begun: float | None) -> dict[str, Any]:
    """A task without a row: its state, and the reason of the rest that ended it."""
    rest = next((r for r in rests if r.first <= step <= r.last), None) if letter in FINAL else None
    return {
        "state": NAMES[letter],
        "exit_code": None,
        "stdout": "",
        "stderr": "",
        "truncated": 0,
        "reason": rest.reason if rest else "",
        "started_at": iso(begun),
        "finished_at": iso(rest.at) if rest else None,
        "execution_time": None,
        "roundtrip_time": None,
        "attempt": int(letter == RUNNING),
    }


class Info:
    """Writes the object of `--job-info` of one job, step by step."""

    def __init__(self, view: JobView, overlay: Overlay | None) -> None:
        self.view = view
        self.overlay = None if view.head.state in JOB_FINAL else overlay
        self.running: Mapping[str, Any] = (self.overlay or {}).get("running") or {}

    def pieces(self) -> Iterator[bytes]:
        """The JSON text in many small pieces."""
        counts = known_counts(self.view.head, self.overlay)
        head = job_object(self.view.head, self.overlay, counted(self.view) if counts is None else counts)
        yield encode(head)[:-1].encode() + b',"steps":['
        letters = known_letters(self.view, self.overlay)
        comma = b""
        for n in range(-(-self.view.head.step_count // STEPS_PER_CHUNK)):
            for step in ujson.loads(self.view.chunk(n)):
                yield comma + self.step_head(step)
                yield from self.tasks(step["i"], letters)
                yield b"]}"
                comma = b","
        yield b"]}"

    def step_head(self, step: dict[str, Any]) -> bytes:
        """A step's own fields, up to its list of tasks."""
        shown = {"index": step["i"], **{key: step.get(key) for key in ("verb", "text", "stage")}}
        shown["name"] = step.get("name") or ""
        return encode(shown)[:-1].encode() + b',"tasks":['

    def tasks(self, step: int, letters: list[bytearray]) -> Iterator[bytes]:
        """The tasks of one step in the order of the job's nodes; one result in memory at a time."""
        rows = iter(self.view.rows(step))
        late = self.view.late(step)
        row = next(rows, None)
        comma = b""
        for index, node in enumerate(self.view.nodes):
            if row and row[0] == index:
                task = result_object(row[1])
                row = next(rows, None)
            elif letters[index][step] == NONE:
                continue
            else:
                task = bare_task(letters[index][step], step, self.view.rests.get(index, ()), self.begun(node, step))
            task["late"] = result_object(late[index]) if index in late else None
            yield comma + encode({"node": node, **task}).encode()
            comma = b","

    def begun(self, node: str, step: int) -> float | None:
        """When a task that runs now was started, if the server knows."""
        times = self.running.get(node) or {}
        at: float | None = times.get(step, times.get(str(step)))
        return at


def gather(pieces: Iterable[bytes], size: int = PART) -> Iterator[bytes]:
    """Join small pieces to parts of at least `size` bytes."""
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)


def lists(objects: Iterable[bytes | Iterable[bytes]], size: int = 4 * PART) -> Iterator[bytes]:
    """JSON lists of whole objects, of about `size` bytes; an object that comes in parts makes a list in parts."""
    held: list[bytes] = []
    length = 1
    for item in objects:
        if held and (not isinstance(item, bytes) or length + len(item) + 1 > size):
            yield b"[" + b",".join(held) + b"]"
            held, length = [], 1
        if isinstance(item, bytes):
            held.append(item)
            length += len(item) + 1
        else:
            yield Cut(b"[")
            yield from map(Cut, item)
            yield b"]"
    if held:
        yield b"[" + b",".join(held) + b"]"


@functools.cache
def wanted_states(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(final, open) names among those a listing asks for; no names ask for all."""
    names = names or ("queued", "running", *sorted(JOB_FINAL))
    return tuple(n for n in names if n in JOB_FINAL), tuple(n for n in names if n not in JOB_FINAL)
