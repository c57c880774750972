"""The output of a job as it comes, as lines or as rows: joined by byte offsets, cut at lines, with what was skipped.

What a viewer gets may repeat or leave out a part of a stream. The offsets say so, hence neither is shown twice nor
missing in silence.
"""

from __future__ import annotations

import codecs
from base64 import b64decode
from collections.abc import Iterator, Mapping

from director import Any
from director.report.groups import WELL
from director.report.screen import PLAIN, Screen
from director.report.text import cell, safe, size

HALF = 512 * 1024  # bytes of the beginning of an output that are kept, and of its end
LONGEST = 16 * 1024  # characters of a line; a longer one is shown in parts
_NAMES = ("stdout", "stderr")
Item = Mapping[str, Any]
Row = dict[str, Any]


class _Stream:
    """One stream of one attempt.

    Attributes:
        offset: bytes of it that were shown or are known to be missing.
    """

    def __init__(self) -> None:
        self.offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, offset: int, data: bytes) -> tuple[int, str]:
        """What is new in a piece: the bytes skipped before it, and its text, without half a character at its end."""
        skipped = max(0, offset - self.offset)
        if skipped:
            self._decoder.reset()
        new = data[max(0, self.offset - offset) :]
        self.offset = max(self.offset, offset + len(data))
        return skipped, self._decoder.decode(new)

    def end(self) -> str:
        """What was held of half a character."""
        return self._decoder.decode(b"", True)


class _Task:
    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.streams = {name: _Stream() for name in _NAMES}


class Joined:
    """Makes rows of pieces and of ended tasks.

    A row is `{job, node, step, number, attempt}` with `stream` and `text`, or `skipped` bytes of a stream, or the
    `state`, `exit_code` and `reason` of a task that has ended.
    """

    def __init__(self, job: str) -> None:
        self._job = job
        self._tasks: dict[tuple[str, int], _Task | None] = {}  # None for one that has ended

    def take(self, item: Item) -> Iterator[Row]:
        """The rows of what is new in an item."""
        key = item["node"], item["step"]
        task = self._tasks.get(key, _Task(item["attempt"])) if key not in self._tasks else self._tasks[key]
        if task is None or item["attempt"] < task.attempt:
            return
        if item["attempt"] > task.attempt:
            yield from self._flush(item, task)
            task = _Task(item["attempt"])
        self._tasks[key] = task
        if "state" not in item:
            yield from self._piece(item, task, item["stream"], item["offset"], b64decode(item["data"]))
            return
        yield from self._end(item, task)
        self._tasks[key] = None

    def _piece(self, item: Item, task: _Task, name: str, offset: int, data: bytes) -> Iterator[Row]:
        skipped, text = task.streams[name].take(offset, data)
        if skipped:
            yield self._row(item, task, stream=name, skipped=skipped)
        if text:
            yield self._row(item, task, stream=name, text=text)

    def _end(self, item: Item, task: _Task) -> Iterator[Row]:
        whole = {name: b64decode(item[name]) for name in _NAMES}
        cut = [name for name in _NAMES if item["truncated"] and len(whole[name]) >= 2 * HALF]
        for name, data in whole.items():
            if name not in cut:
                yield from self._piece(item, task, name, 0, data)
                continue
            # both cut: how much each lacks is not known, so all of it is taken for the first one's
            missing = item["truncated"] if name == cut[0] else 0
            yield from self._piece(item, task, name, 0, data[:HALF])
            yield from self._piece(item, task, name, HALF + missing, data[HALF:])
        yield from self._flush(item, task)
        yield self._row(item, task, state=item["state"], exit_code=item["exit_code"], reason=item["reason"])

    def _flush(self, item: Item, task: _Task) -> Iterator[Row]:
        for name, stream in task.streams.items():
            if text := stream.end():
                yield self._row(item, task, stream=name, text=text)

    def _row(self, item: Item, task: _Task, **more: Any) -> Row:
        where = {"node": item["node"], "step": item["step"], "number": item["step"] + 1, "attempt": task.attempt}
        return {"job": self._job, **where, **more}


class Lines:
    """Rows as lines, each with the name of its node; of a line that was written over with `\\r` the last text.

    Args:
        several: the job has more than one step, so the number of the step goes with the name.
    """

    def __init__(self, several: bool, screen: Screen = PLAIN) -> None:
        self._several, self._screen = several, screen
        self._open: dict[tuple[str, int, str], str] = {}  # lines that have not ended

    def take(self, row: Item) -> Iterator[str]:
        """The lines that a row completes."""
        if "text" in row:
            key = row["node"], row["step"], row["stream"]
            *lines, rest = (self._open.pop(key, "") + row["text"]).split("\n")
            while len(rest) > LONGEST:
                lines, rest = [*lines, rest[:LONGEST]], rest[LONGEST:]
            if rest:
                self._open[key] = rest
            yield from (self._line(row, row["stream"], line) for line in lines)
        elif "skipped" in row:
            yield from self._finish(row, row["stream"])
            yield self._line(row, row["stream"], f"… skipped {size(row['skipped'])}", style="dim")
        else:
            for stream in _NAMES:
                yield from self._finish(row, stream)
            if row["state"] not in WELL:
                yield self._ended(row)

    def _finish(self, row: Item, stream: str) -> Iterator[str]:
        rest = self._open.pop((row["node"], row["step"], stream), "")
        if rest.rstrip("\r"):
            yield self._line(row, stream, rest)

    def _line(self, row: Item, stream: str, text: str, style: str = "") -> str:
        mark = "!" if stream == "stderr" else ":"
        shown = safe(text.rstrip("\r").rpartition("\r")[2])
        head = self._screen.paint_node(self._name(row) + mark, row["node"])
        return f"{head} {self._screen.paint(shown, style)}".rstrip(" ") + "\n"

    def _ended(self, row: Item) -> str:
        reason = f": {cell(row['reason'])}" if row["reason"] else ""
        return f"== {self._name(row)}: {self._screen.paint(row['state'], row['state'])}{reason}\n"

    def _name(self, row: Item) -> str:
        return f"{cell(row['node'])}[{row['number']}]" if self._several else cell(row["node"])
