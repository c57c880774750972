"""The step cache: per orchestration file and stage, the fingerprints of the steps that last ran on this node.

A step is `cached` when it and every step before it in its stage are what ran last: the same verb, flags and inputs
as rendered here. The first step that differs runs, and so do all steps after it. The file on disk never claims more
than is true: it is cut before the first step that differs runs, and new steps are saved some time after they ran.
A crash may therefore repeat a step and never skips one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

import ujson

from director.runtime.durable import write_private

log = logging.getLogger(__name__)

KEEP = 30 * 86400.0  # seconds
STAGES = 2000  # stages that are kept; the oldest are deleted
SAVE_EVERY = 2.0  # seconds
EFFECTS_LIMIT = 256 * 1024  # bytes of ARG texts kept with a step; a step with more runs again


@dataclass(slots=True)
class CachedStep:
    """A step that ran.

    Attributes:
        fingerprint: of the step; "" equals no step.
        effects: the ARGs that its output set.
        at: when it ran, as epoch seconds.
        job: the job in which it ran.
        values: the first characters of the ARGs and ENVs that it set or that `--arg` gave it, to name later the one
            that changed: `{"ARG VERSION": "1.4"}`.
    """

    fingerprint: str
    effects: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0
    job: str = ""
    values: dict[str, str] = field(default_factory=dict)


class StageCache:
    """The steps that last ran in one stage of one file, while a job or a dry run goes through the stage.

    `enter` must be called for each step of the stage in order; the other methods are about the step entered last.

    Args:
        steps: what ran last, in order.
        path: the file to write; "" writes nothing (dry run).
        broken: initial value of the attribute.

    Attributes:
        broken: why this step and all after it run, "" while all steps so far are what ran last.
        doubt: why a dry run cannot know whether the steps from here on are what ran last, "" when it can.
    """

    def __init__(self, steps: list[CachedStep], path: str = "", broken: str = "") -> None:
        self.broken, self.doubt = broken, ""
        self._steps, self._path = steps, path
        self._step = self._place = -1
        self._saved = time.monotonic()
        self._dirty = False

    def enter(self, step: int) -> None:
        """Go to the step with this number; a further attempt of the same step keeps its place."""
        if step != self._step:
            self._step, self._place = step, self._place + 1

    @property
    def last(self) -> CachedStep | None:
        """What ran last in this step's place."""
        return self._steps[self._place] if self._place < len(self._steps) else None

    def find(self, fingerprint: str, values: Mapping[str, str]) -> tuple[CachedStep | None, str]:
        """The step when it and all before it are what ran last, else None and why not; then the cache is cut here.

        Args:
            values: as in `CachedStep`, to name the one that changed.
        """
        last, reason = self.last, self.broken or self.doubt
        if not reason:
            if last is not None and last.fingerprint == fingerprint:
                return last, ""
            reason = "it has not run here before" if last is None else difference(last, fingerprint, values)
            self.broken = f"step {self._step + 1} before it {'runs' if last is None else 'changed'}"
        if self.broken:
            self.cut(self.broken)
        return None, reason

    def cut(self, why: str) -> None:
        """Forget this step and all after it; `why` is the reason that a dry run gives for the steps after it."""
        self.broken = self.broken or why
        if self.last is not None:
            del self._steps[self._place :]
            self._dirty = True
            self.save()

    def record(self, step: CachedStep) -> None:
        """The step ran and succeeded."""
        if step.effects and len(ujson.dumps(step.effects)) > EFFECTS_LIMIT:
            step = CachedStep("")
        if self._place <= len(self._steps):
            self._steps[self._place : self._place + 1] = [step]
        self._dirty = True
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the steps durably, as a cut must survive a loss of power. A failure deletes the file instead."""
        if not self._dirty or not self._path:
            return
        self._dirty, self._saved = False, time.monotonic()
        rows = [(step.fingerprint, step.effects, step.at, step.job, step.values) for step in self._steps]
        try:
            write_private(self._path, ujson.dumps(rows).encode())
        except OSError as error:
            log.warning("the step cache %s cannot be saved: %s; its steps will run again", self._path, error.strerror)
            with suppress(OSError):
                os.unlink(self._path)


class StepCache:
    """The stages of all files on this client: a small file for each in a folder of the client's state."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._open: dict[tuple[str, int], StageCache] = {}
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def of(self, job: str, head: Mapping[str, Any], step: Mapping[str, Any]) -> StageCache:
        """The cache of a step's stage for this job, the same object until `end`.

        Args:
            head: of the job: its `name` (the file), `options` and `resumed`.
            step: its `stage`, and the `stage_name` if it has one.
        """
        key = (job, step["stage"])
        if key not in self._open:
            self._open[key] = self.load(head, step)
        return self._open[key]

    def load(self, head: Mapping[str, Any], step: Mapping[str, Any], read_only: bool = False) -> StageCache:
        """The cache of a step's stage as it is on disk; arguments as for `of`."""
        name = f"{head['name']}\0{step['stage']}:{step.get('stage_name', '')}"
        path = os.path.join(self._folder, hashlib.sha256(name.encode()).hexdigest()[:40])
        broken = "--no-cache" if head["options"].get("no_cache") else ""
        if head.get("resumed"):  # its first steps are not entered, so the places are not those of the whole file
            broken = "the job was resumed"
        return StageCache(_read(path), "" if read_only else path, broken)

    def end(self, job: str) -> None:
        """The job has ended here: save what it ran."""
        for key in [key for key in self._open if key[0] == job]:
            self._open.pop(key).save()

    def save(self) -> None:
        """Save all that ran; the client ends."""
        for cache in self._open.values():
            cache.save()

    def clear(self) -> None:
        """Forget all steps (CACHEEVICT jobs)."""
        self._open.clear()
        for entry in list(os.scandir(self._folder)):
            os.unlink(entry.path)

    def sweep(self) -> None:
        """Delete files that are older than thirty days, and the oldest when there are more than `STAGES`."""
        entries = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(self._folder))
        limit = time.time() - KEEP
        for number, (changed, path) in enumerate(entries):
            if changed < limit or number < len(entries) - STAGES:
                os.unlink(path)


def _read(path: str) -> list[CachedStep]:
    try:
        if os.stat(path).st_mtime < time.time() - KEEP:
            return []
        with open(path, encoding="utf-8") as file:
            return [CachedStep(*row) for row in ujson.load(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        log.warning("the step cache %s cannot be read, its steps run again: %s", path, error)
        return []


def fingerprint(verb: str, flags: Mapping[str, Any], body: Mapping[str, Any], *inputs: Any) -> str:
    """The digest of a step with its inputs, then a short digest of each part, to name later the part that changed.

    Args:
        flags: those in `NOT_COUNTED` are left out.
        inputs: the other parts of `PARTS`, in their order.
    """
    counted = {name: value for name, value in flags.items() if name not in NOT_COUNTED}
    texts = [ujson.dumps(part, sort_keys=True) if part else "" for part in (body, counted, *inputs)]
    return ".".join((_digest("\0".join((verb, *texts)), 20), *map(_short, texts)))


def effects_fingerprint(verb: str, effects: Mapping[str, Any]) -> str:
    """The fingerprint of a step that only sets values: they count, its text does not."""
    return f"{_digest(ujson.dumps([verb, effects], sort_keys=True), 20)}.{_short(verb)}"


@lru_cache(256)  # most steps of a stage have the same flags, folder and environment
def _short(text: str) -> str:
    return _digest(text, 4) if text else "-"


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def difference(last: CachedStep, fingerprint: str, values: Mapping[str, str]) -> str:
    """Which part of a step differs from what ran last, in words; an ARG or ENV is given with both values."""
    pairs = zip(PARTS, last.fingerprint.split(".")[1:], fingerprint.split(".")[1:], strict=False)
    part = next((name for name, before, now in pairs if before != now), PARTS[-1] if "." in last.fingerprint else "")
    if part in WRITTEN:
        return f"{part} changed"
    changes = [_change(name, last.values.get(name), values.get(name)) for name in {**last.values, **values}]
    return ", ".join(filter(None, changes)) or (f"{part} changed" if part else "it is another step")


def _change(name: str, old: str | None, new: str | None) -> str:
    if old == new:
        return ""
    if old is None:
        return f"{name} was not set, it is {new!r} now"
    return f"{name} was {old!r}, it is {'not set' if new is None else repr(new)} now"


def shown_values(kind: str, texts: Mapping[str, str]) -> dict[str, str]:
    """ARGs or ENVs (`kind`) as `CachedStep.values` has them."""
    return {f"{kind} {name}": str(text)[:SHOWN] for name, text in islice(texts.items(), SHOWN_NAMES)}


SHOWN, SHOWN_NAMES = 100, 20  # characters of a value, values of a step
#: parts of a fingerprint; the first that differs is named
PARTS = (
    "its text", "a flag", "a value in it", "the user", "the working folder", "the shell", "its environment",
    "a value that it sets",
)  # fmt: skip
WRITTEN = frozenset(PARTS[:2])  # those that stand in the file
SETS = f"{PARTS[-1]} changed"  # the difference of steps with the same inputs
NOT_COUNTED = frozenset(("name", "timeout", "skip-cache", "ignore-errors", "run-once", "retry", "retries"))
