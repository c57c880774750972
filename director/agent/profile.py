"""What a client reports of its node: facts and remembered ARGs, which are kept on disk; and the labels it was given."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import ujson

from director.agent.job_runner import JobRunner, Step
from director.agent.step_cache import StepCache
from director.language.origin import Relayed
from director.runtime.durable import write_private

log = logging.getLogger(__name__)

REMEMBER = 12 * 3600.0  # seconds an ARG is remembered
ARGS_LIMIT = 1000  # remembered ARGs
ARGS_BYTES = 512 * 1024  # of all of them, in JSON: with the facts they fit a message
TEXT_LIMIT = 128 * 1024  # bytes of one ARG, in JSON


class Profile:
    """Facts of now, remembered ARGs, which are written to the state folder at every change, and the node's labels.

    The labels are the server's, and come with each welcome.

    Args:
        folder: the state folder.
        facts: of this machine, replaced when they are read again.
        cache: which the effects of a step may clear.
    """

    def __init__(self, folder: str, facts: dict[str, Any], cache: StepCache) -> None:
        self.facts = facts
        self.labels: dict[str, str] = {}
        self._path = os.path.join(folder, "profile.json")
        self._args: dict[str, tuple[str, float]] = {}  # a relayed one has a text of that type
        self._cache = cache
        self._load()

    def as_message(self) -> dict[str, Any]:
        """The fields of a `profile` message."""
        return {"facts": self.facts, "args": self.args()}

    def args(self) -> dict[str, str]:
        """Remembered ARGs that are not older than twelve hours."""
        limit = time.time() - REMEMBER
        return {name: text for name, (text, at) in self._args.items() if at > limit}

    def apply(self, effects: dict[str, Any]) -> None:
        """Keep the ARGs that a step has set, forget what it evicts. The server does the same with its result."""
        evicted = effects.get("evict", ())
        if "jobs" in evicted:
            self._cache.clear()
        if "args" in evicted:
            self._args.clear()
        if "arg" in effects:
            for name, text in effects["arg"].items():
                self._remember(name, Relayed(text) if name in effects.get("relayed", ()) else text)
            self._trim()
        if "arg" in effects or "args" in evicted:
            self._save()

    def _remember(self, name: str, text: str) -> None:
        self._args.pop(name, None)
        if _size(text) <= TEXT_LIMIT:
            self._args[name] = (text, time.time())
        else:  # a part of it would be another value
            log.warning("the ARG %s is not remembered: it is longer than %d KiB", name, TEXT_LIMIT >> 10)

    def take_labels(self, labels: dict[str, str]) -> None:
        """Replace the labels."""
        self.labels.clear()  # in place: the executor has the same dictionary
        self.labels.update(labels)

    def pass_over(self, job: JobRunner, step: Step, good: bool) -> None:
        """Keep the place of a step that ended before this client began; cut the step cache there if it failed."""
        if job.head["kind"] == "orchestrate":
            cache = self._cache.of(job.id, job.head, step)
            cache.enter(step["i"])
            if not good:
                cache.cut(f"step {step['i'] + 1} failed")

    def end_job(self, job: str) -> None:
        """Write what the job added to the step cache."""
        self._cache.end(job)

    def _trim(self) -> None:
        """Forget the oldest ARGs when there are too many, or they are too large together."""
        size = sum(_size(name) + _size(text) for name, (text, _) in self._args.items())
        while len(self._args) > ARGS_LIMIT or size > ARGS_BYTES:
            name = next(iter(self._args))
            size -= _size(name) + _size(self._args.pop(name)[0])

    def _load(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                data = ujson.load(file)
            relayed = data.get("relayed", ())
            for name, (text, at) in data["args"].items():
                self._args[str(name)] = (Relayed(text) if name in relayed else str(text), float(at))
            self._trim()
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read; ARGs are forgotten: %s", self._path, error)

    def _save(self) -> None:
        try:
            relayed = [name for name, (text, _) in self._args.items() if isinstance(text, Relayed)]
            kept = {"args": self._args, "relayed": relayed}
            write_private(self._path, ujson.dumps(kept).encode())
        except OSError as error:
            log.error("ARGs cannot be kept: %s: %s", self._path, error.strerror)


def _size(text: str) -> int:
    """Bytes that the text takes in a message."""
    return len(ujson.dumps(text))
