"""The JSON that users and scripts see of jobs, made the same way from whatever store holds them."""

from __future__ import annotations

import functools
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import ujson

from director import states as st
from director.protocol.framing import Cut
from director.protocol.results import TaskResult
from director.stores.contract import JobHead
from director.stores.rows import RangeRecord, encode
from director.stores.sqlite_reader import SqliteView

Overlay = Mapping[str, Any]  # what `live` of the contract has of one job
PART = 1 << 20


def iso(at: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC with milliseconds; None for None and for times out of any calendar."""
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


# letters: one bytearray per node, one state letter per step


def members(meta: Mapping[str, Any], steps: int, nodes: Sequence[str]) -> list[bytearray]:
    """For each node the state letters of a new job: queued where the node has the step, else none."""
    letters = [bytearray(bytes((st.NONE,)) * steps) for _ in nodes]
    position = {name: index for index, name in enumerate(nodes)}
    for block in meta.get("blocks", ()):
        first, end = block["first"], min(block["last"] + 1, steps)
        names = block.get("nodes")
        for name in meta["stages"][block["stage"]]["nodes"] if names is None else names:
            if name in position:
                letters[position[name]][first:end] = bytes((st.QUEUED,)) * (end - first)
    return letters


def _durable_letter(letter: int) -> int:
    """The letter to show for one in the server's memory: a final state there is not durable yet."""
    if letter in (st.CANCELLED, st.EXPIRED, st.SKIPPED):
        return st.SENT
    return st.RUNNING if letter in st.FINAL else letter


def fold(letters: bytearray, cursor: int, range_ends: Sequence[RangeRecord]) -> bytearray:
    """Mark in `letters` what was sent and what a range end ended; an earlier range end beats a later one."""
    letters[:cursor] = letters[:cursor].replace(bytes((st.QUEUED,)), bytes((st.SENT,)))
    for ended in reversed(range_ends):
        for step in range(ended.first, min(ended.last + 1, len(letters))):
            if letters[step] != st.NONE:
                letters[step] = ord(ended.state)
    return letters


# final states are reported only once durable: from results and range ends
_DURABLE = bytes(map(_durable_letter, range(256)))


def known_letters(view: SqliteView, overlay: Overlay | None) -> list[bytearray]:
    """The letters of each node without the results: from the server's memory, else from the ledger."""
    live = (overlay or {}).get("nodes") or {}
    letters = members(view.meta, view.head.step_count, view.nodes)
    for index, (name, mine) in enumerate(zip(view.nodes, letters, strict=True)):
        if name in live:
            mine[: len(live[name])] = live[name].encode("ascii").translate(_DURABLE)[: len(mine)]
        fold(mine, 0 if name in live else view.cursors[index], view.range_ends.get(index, ()))
    return letters


def ledger_letters(view: SqliteView) -> list[bytearray]:
    """The letters of each node by the ledger alone, results included."""
    letters = known_letters(view, None)
    for index, step, state in view.states():
        if step < len(letters[index]):
            letters[index][step] = ord(state)
    return letters


def counted(view: SqliteView) -> dict[str, int]:
    """Counts made from the ledger alone, for a job without counts of the server."""
    found = ledger_letters(view)
    counts = {name: sum(letters.count(letter) for letters in found) for letter, name in st.NAMES.items()}
    return {**counts, "total": sum(counts.values())}


def succeeded(view: SqliteView) -> dict[str, Any]:
    """`succeeded` and `again` of `Store.resume_record`."""
    table = bytes(b"01"[letter in st.GOOD] for letter in range(256))
    patterns: dict[str, list[str]] = {}
    every = ledger_letters(view)
    again: dict[str, list[int]] = {}
    for position, step in view.withheld():
        if set(every[position]) - st.GOOD - {st.NONE}:  # something is left to run, which may need the value
            again.setdefault(view.nodes[position], []).append(step)
    for node, letters in zip(view.nodes, every, strict=True):
        for step in again.get(node, ()):
            letters[step] = st.QUEUED
        patterns.setdefault(letters.translate(table).decode(), []).append(node)
    return {"succeeded": list(patterns.items()), "again": again}


# objects


def state_of(head: JobHead, overlay: Overlay | None) -> str:
    """The job's state by name: the ledger's when it is final, else that in the server's memory."""
    if head.state in st.JOB_FINAL or not overlay:
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
        "final": state in st.JOB_FINAL,
        "step_count": head.step_count,
        "node_count": head.node_count,
        "tasks": {name: counts.get(name, 0) for name in ("total", *st.COUNT_NAMES)},
        "created_at": iso(head.created_at),
        "started_at": iso(begun),
        "finished_at": iso(head.finished_at),
        "duration": duration,
        "submitted_by": head.submitted_by,
    }


def known_counts(head: JobHead, overlay: Overlay | None) -> dict[str, int] | None:
    """Counts from the server's memory for an open job, else those it wrote; None when it wrote none."""
    if head.state not in st.JOB_FINAL and overlay and overlay.get("tasks"):
        return dict(overlay["tasks"])
    return None if head.counts is None else ujson.loads(head.counts)


def result_object(result: TaskResult, output: bytes) -> dict[str, Any]:
    """A result with the names of the contract."""
    return {
        "state": st.NAMES[ord(result.state)],
        "exit_code": result.exit_code,
        "stdout": output[: result.stdout_size].decode("utf-8", "replace"),
        "stderr": output[result.stdout_size :].decode("utf-8", "replace"),
        "truncated": result.truncated,
        "reason": result.reason or "",
        "started_at": iso(result.started_at),
        "finished_at": iso(result.finished_at),
        "execution_time": seconds(result.execution_time),
        "roundtrip_time": seconds(result.roundtrip_time),
        "attempt": result.attempt,
    }


def bare_task(letter: int, step: int, range_ends: Sequence[RangeRecord], begun: float | None) -> dict[str, Any]:
    """A task without a result: its state, and the reason and time of the range end that covers it."""
    covers = (ended for ended in range_ends if ended.first <= step <= ended.last)
    ended = next(covers, None) if letter in st.FINAL else None
    reason, at = (ended.reason, ended.at) if ended else ("", None)
    attempt = int(letter == st.RUNNING)
    values = (step, chr(letter), None, begun, at, None, None, attempt, reason, 0, 0, 0, None)
    return result_object(TaskResult._make(values), b"")


class Info:
    """Writes the object of `--job-info` of one job, step by step."""

    def __init__(self, view: SqliteView, overlay: Overlay | None) -> None:
        self.view = view
        self.overlay = None if view.head.state in st.JOB_FINAL else overlay
        self.running: Mapping[str, Any] = (self.overlay or {}).get("running") or {}

    def pieces(self) -> Iterator[bytes]:
        """The JSON text in many small pieces."""
        counts = known_counts(self.view.head, self.overlay)
        head = job_object(self.view.head, self.overlay, counted(self.view) if counts is None else counts)
        yield encode(head)[:-1].encode() + b',"steps":['
        letters = known_letters(self.view, self.overlay)
        comma = b""
        for chunk in self.view.chunks():
            for step in ujson.loads(chunk):
                yield comma + self.step_head(step)
                yield from self.tasks(step["i"], letters)
                yield b"]}"
                comma = b","
        yield b"]}"

    def step_head(self, step: dict[str, Any]) -> bytes:
        """A step's own fields, up to its list of tasks."""
        shown = {"index": step["i"], "number": step["i"] + 1}
        shown |= {**{key: step.get(key) for key in ("verb", "text", "stage")}, "name": step.get("name") or ""}
        return encode(shown)[:-1].encode() + b',"tasks":['

    def tasks(self, step: int, letters: list[bytearray]) -> Iterator[bytes]:
        """The tasks of one step in the order of the job's nodes; one result in memory at a time."""
        results = iter(self.view.results(step))
        late = {index: result_object(result, output) for index, result, output in self.view.late_results(step)}
        found = next(results, None)
        comma = b""
        for index, node in enumerate(self.view.nodes):
            if found and found[0] == index:
                task = result_object(*found[1:])
                found = next(results, None)
            elif letters[index][step] == st.NONE:
                continue
            else:
                ended = self.view.range_ends.get(index, ())
                task = bare_task(letters[index][step], step, ended, self.begun(node, step))
            yield comma + encode({"node": node, **task, "late": late.get(index)}).encode()
            comma = b","

    def of_node(self, node: str) -> Iterator[dict[str, Any]]:
        """The tasks of one node, without outputs."""
        if node not in self.view.nodes:
            return
        index = self.view.nodes.index(node)
        letters = known_letters(self.view, self.overlay)[index]
        for step in self._steps():
            found = self.view.result(step["i"], node)
            if found is not None:
                yield _brief(step, result_object(found[0], b""))
            elif letters[step["i"]] != st.NONE:
                ended = self.view.range_ends.get(index, ())
                yield _brief(step, bare_task(letters[step["i"]], step["i"], ended, self.begun(node, step["i"])))

    def not_well(self) -> list[dict[str, Any]]:
        """The final tasks that did not end well, alike ones once."""
        groups: dict[tuple[Any, ...], dict[str, Any]] = {}
        letters = known_letters(self.view, self.overlay)
        for step in self._steps():
            number = step["i"]
            found = {index: result for index, result, _ in self.view.results(number)}
            for index, node in enumerate(self.view.nodes):
                letter = ord(found[index].state) if index in found else letters[index][number]
                if letter not in st.FINAL - st.GOOD:
                    continue
                ended = self.view.range_ends.get(index, ())
                task = result_object(found[index], b"") if index in found else bare_task(letter, number, ended, None)
                key = number, letter, task["reason"]
                groups.setdefault(key, {**_brief(step, task), "nodes": []})["nodes"].append(node)
        return list(groups.values())

    def _steps(self) -> Iterator[dict[str, Any]]:
        return (step for chunk in self.view.chunks() for step in ujson.loads(chunk))

    def begun(self, node: str, step: int) -> float | None:
        """When a running task started, if the server knows."""
        times = self.running.get(node) or {}
        at: float | None = times.get(step, times.get(str(step)))
        return at


def outputs(view: SqliteView, step: int | None, nodes: Sequence[str] | None) -> Iterator[bytes]:
    """See `Store.outputs`; one task at a time."""
    wanted = None if nodes is None else {index for index, name in enumerate(view.nodes) if name in set(nodes)}
    for number in range(view.head.step_count) if step is None else (step,):
        for index, result, output in view.results(number):
            if wanted is None or index in wanted:
                yield with_output(view.nodes[index], result, output)


def with_output(node: str, result: TaskResult, output: bytes) -> bytes:
    """A result with its output in base64."""
    cut = result.stdout_size
    shown = {
        "node": node, "step": result.step, "number": result.step + 1, "attempt": result.attempt,
        "state": st.NAMES[ord(result.state)], "exit_code": result.exit_code, "reason": result.reason or "",
        "truncated": result.truncated, "stdout": b64encode(output[:cut]).decode(),
        "stderr": b64encode(output[cut:]).decode(),
    }  # fmt: skip
    return encode(shown).encode()


def _brief(step: Mapping[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """A task with its step, without outputs."""
    head = {"index": step["i"], "number": step["i"] + 1, "verb": step.get("verb"), "text": step.get("text")}
    return head | {name: value for name, value in task.items() if name not in ("stdout", "stderr")}


def gather(pieces: Iterable[bytes], size: int = PART) -> Iterator[bytes]:
    """Join small pieces into parts of at least `size` bytes."""
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


def lists(objects: Iterable[Iterable[bytes]], size: int = 4 * PART) -> Iterator[bytes]:
    """JSON lists of whole objects, each ended once it has `size` bytes; all parts of a list but its last are `Cut`."""
    held: list[bytes] = []
    length = 0  # of the open list
    for parts in objects:
        before = b"," if length else b"["
        for part in parts:
            held.append(before + part)
            before, length = b"", length + len(part)
            if sum(map(len, held)) >= PART:
                yield Cut(b"".join(held))
                held = []
        if length >= size:
            yield b"".join((*held, b"]"))
            held, length = [], 0
    if length:
        yield b"".join((*held, b"]"))
