"""The cache of orchestration files: for each file and stage the chain of steps that last ran on this node.

A step is `cached` when it, and every step before it in the stage, is what ran last: the same verb, flags and
inputs as rendered here. The first that differs runs, and so do all behind it. A chain on disk is never more
than what is true: it is cut before the first step that differs runs, and grown at leisure afterwards, so that
a crash costs a run and never skips one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

import ujson

from director.runtime.durable import write_private

log = logging.getLogger(__name__)

KEEP = 30 * 86400.0  # seconds
CHAINS = 2000  # files kept; the oldest go
SAVE_EVERY = 2.0  # seconds
LINK_LIMIT = 256 * 1024  # bytes of ARG texts kept with a step; a longer one is run again


@dataclass(slots=True)
class CachedStep:
    """One step of a chain: its digest, the ARGs its output set, when and in which job it ran.

    `values` are the texts, cut short, of the ARGs and ENVs that it set or that `--arg` gave it, to tell later which one
    is another: `{"ARG VERSION": "1.4"}`.
    """

    digest: str
    effects: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0
    job: str = ""
    values: dict[str, str] = field(default_factory=dict)


class Chain:
    """The chain of one stage of one file, while a job goes through it."""

    def __init__(self, path: str, links: list[CachedStep]) -> None:
        self._path = path
        self._links = links
        self._place: dict[int, int] = {}  # step number -> place in the chain
        self._broken = False
        self._saved = time.monotonic()
        self._dirty = False

    def known(self, step: int, digest: str) -> CachedStep | None:
        """What this step was when it last ran, if nothing before it has changed; else the chain breaks here.

        The digest "" equals none.
        """
        place = self._place.setdefault(step, len(self._place))
        if digest and not self._broken and place < len(self._links) and self._links[place].digest == digest:
            return self._links[place]
        self.break_at(place)
        return None

    def same(self, step: int) -> bool:
        """Whether the chain holds up to and with this step."""
        return not self._broken and self._place.get(step, 0) < len(self._links)

    def record(self, step: int, link: CachedStep) -> None:
        """The step ran and went well."""
        place = self._place.setdefault(step, len(self._place))
        if link.effects and len(ujson.dumps(link.effects)) > LINK_LIMIT:
            link = CachedStep("")  # equal to no step: it runs again
        if place < len(self._links):
            self._links[place] = link
        elif place == len(self._links):
            self._links.append(link)
        self._dirty = True
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def break_at(self, place: int) -> None:
        """From here on nothing is as it was."""
        self._broken = True
        if place < len(self._links):
            del self._links[place:]
            self._dirty = True
            self.save()

    def save(self) -> None:
        """Write what was learned; durable, as a cut must never be undone by a loss of power."""
        if not self._dirty:
            return
        self._dirty, self._saved = False, time.monotonic()
        rows = [(link.digest, link.effects, link.at, link.job, link.values) for link in self._links]
        try:
            write_private(self._path, ujson.dumps(rows).encode())
        except OSError as error:
            log.warning("the chain %s cannot be kept: %s; its steps will run again", self._path, error.strerror)
            self._forget()

    def _forget(self) -> None:
        try:
            os.unlink(self._path)
        except OSError as error:
            log.debug("%s: %s", self._path, error.strerror)


class StepCache:
    """All chains of this client, one small file each, in a folder of its state."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._open: dict[tuple[str, str], Chain] = {}
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def of(self, job: str, file: str, stage: str, fresh: bool) -> Chain:
        """The chain of `stage` in `file` for this job; `fresh` begins it anew."""
        chain = self._open.get((job, stage))
        if chain is None:
            path = self._place(file, stage)
            chain = self._open[job, stage] = Chain(path, self._load(path))
            if fresh:
                chain.break_at(0)
        return chain

    def links(self, file: str, stage: str) -> list[CachedStep]:
        """What ran last in `stage` of `file`, to look at."""
        return self._load(self._place(file, stage))

    def end(self, job: str) -> None:
        """The job is over here: write what it learned."""
        for key in [key for key in self._open if key[0] == job]:
            self._open.pop(key).save()

    def clear(self) -> None:
        """CACHEEVICT jobs: forget every chain."""
        self._open.clear()
        for entry in list(os.scandir(self._folder)):
            os.unlink(entry.path)

    def sweep(self) -> None:
        """Drop chains that are older than thirty days, and the oldest when there are too many."""
        entries = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(self._folder))
        limit = time.time() - KEEP
        for number, (changed, path) in enumerate(entries):
            if changed < limit or number < len(entries) - CHAINS:
                os.unlink(path)

    def _place(self, file: str, stage: str) -> str:
        return os.path.join(self._folder, hashlib.sha256(f"{file}\0{stage}".encode()).hexdigest()[:40])

    def _load(self, path: str) -> list[CachedStep]:
        try:
            if os.stat(path).st_mtime < time.time() - KEEP:
                return []
            with open(path, encoding="utf-8") as file:
                return [_link(*row) for row in ujson.load(file)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            log.warning("the chain %s cannot be read, its steps run again: %s", path, error)
            return []


def _link(
    digest: str, effects: dict[str, Any], at: float, job: str, values: Mapping[str, str] | None = None
) -> CachedStep:
    """A row of a chain's file; those of earlier versions have no values."""
    return CachedStep(str(digest), dict(effects), float(at), str(job), dict(values or {}))


def digest(*parts: Any) -> str:
    """One short text for everything that makes a step what it is."""
    return hashlib.blake2b(ujson.dumps(parts, sort_keys=True).encode(), digest_size=20).hexdigest()


def mark(verb: str, flags: Mapping[str, Any], body: Mapping[str, Any], *rest: Any) -> str:
    """A step with its inputs: one digest of all, and a short one of each part, to say later which one changed.

    Names and ways to run it do not count; `rest` are the other parts of `PARTS`, in their order.
    """
    counted = {name: value for name, value in flags.items() if name not in NOT_COUNTED}
    texts = [ujson.dumps(part, sort_keys=True) if part else "" for part in (body, counted, *rest)]
    whole = hashlib.blake2b("\0".join((verb, *texts)).encode(), digest_size=20).hexdigest()
    return ".".join((whole, *map(_short, texts)))


@lru_cache(256)  # most steps of a stage have the same flags, folder and environment
def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest() if text else "-"


def mark_of_values(verb: str, effects: Mapping[str, Any]) -> str:
    """The mark of a step that only sets values: whatever its text is, they are what counts."""
    return f"{digest(verb, effects)}.{_short(verb)}"


def difference(old: CachedStep, mark: str, values: Mapping[str, str]) -> str:
    """Which part of a step differs from what ran last, in words; a value of an ARG or ENV is named."""
    pairs = zip(PARTS, old.digest.split(".")[1:], mark.split(".")[1:], strict=False)
    part = next((name for name, before, now in pairs if before != now), PARTS[-1] if "." in old.digest else "")
    if part in WRITTEN:
        return f"{part} changed"
    names = {**old.values, **values}
    changes = [_change(name, old.values.get(name), values.get(name)) for name in names]
    said = ", ".join(filter(None, changes))
    return said or (f"{part} changed" if part else OTHER_STEP)


def _change(name: str, old: str | None, new: str | None) -> str:
    if old == new:
        return ""
    if old is None or new is None:
        return f"{name} was not set, it is {new!r} now" if old is None else f"{name} was {old!r}, it is not set now"
    return f"{name} was {old!r}, it is {new!r} now"


def shown_values(kind: str, texts: Mapping[str, str]) -> dict[str, str]:
    """ARGs or ENVs (`kind`) as `CachedStep.values` keeps them: a few, and the beginning of each."""
    return {f"{kind} {name}": str(text)[:SHOWN] for name, text in islice(texts.items(), SHOWN_NAMES)}


OTHER_STEP = "it is another step"
SHOWN, SHOWN_NAMES = 100, 20  # characters of a value, values of a step
#: parts of a mark, the most telling first
PARTS = (
    "its text", "a flag", "a value in it", "the user", "the working folder", "the shell", "its environment",
    "a value that it sets",
)  # fmt: skip
WRITTEN = frozenset(PARTS[:2])  # those that stand in the file
NOT_COUNTED = frozenset(("name", "timeout", "skip-cache", "ignore-errors", "run-once", "retry", "retries"))
