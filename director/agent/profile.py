"""What a client says of itself: facts, the labels it was given, the ARGs it remembers; the last two on disk."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import ujson

from director.runtime.durable import write_private

log = logging.getLogger(__name__)

REMEMBER = 12 * 3600.0  # seconds an ARG is remembered
ARGS_LIMIT = 1000
ARGS_BYTES = 512 * 1024  # of all remembered ARGs, in JSON: with labels and facts they fit a message
TEXT_LIMIT = 65536  # of one


class Profile:
    """Facts of now, labels and remembered ARGs of the state folder; changes are written at once."""

    def __init__(self, folder: str, facts: dict[str, Any]) -> None:
        self.facts = facts
        self._path = os.path.join(folder, "profile.json")
        self.labels: dict[str, str] = {}
        self._args: dict[str, tuple[str, float]] = {}
        self._load()

    def as_message(self) -> dict[str, Any]:
        """The fields of a `profile` message."""
        return {"facts": self.facts, "labels": self.labels, "args": self.args()}

    def args(self) -> dict[str, str]:
        """Remembered ARGs that are not older than twelve hours."""
        limit = time.time() - REMEMBER
        return {name: text for name, (text, at) in self._args.items() if at > limit}

    def take(self, effects: dict[str, Any]) -> None:
        """Labels and ARGs that a step has set; a label that is None goes."""
        for name, value in effects.get("labels", {}).items():
            if value is None:
                self.labels.pop(name, None)
            else:
                self.labels[name] = value
        now = time.time()
        for name, text in effects.get("arg", {}).items():
            self._args.pop(name, None)
            if _size(text) <= TEXT_LIMIT:
                self._args[name] = (text, now)
            else:  # part of a value would be another value
                log.warning("the ARG %s is not remembered: it is longer than %d KiB", name, TEXT_LIMIT >> 10)
        self._trim()
        self._save()

    def inherit(self, labels: dict[str, str]) -> None:
        """The labels that came with the name are this node's now; what it had before is of another time or name."""
        self.labels.clear()  # in place, as others look at it
        self.labels.update(labels)
        self._save()

    def _trim(self) -> None:
        """The oldest ARGs go when there are too many, or too large ones."""
        size = sum(_size(name) + _size(text) for name, (text, _) in self._args.items())
        while len(self._args) > ARGS_LIMIT or size > ARGS_BYTES:
            name = next(iter(self._args))
            size -= _size(name) + _size(self._args.pop(name)[0])

    def forget_args(self) -> None:
        """CACHEEVICT args."""
        self._args.clear()
        self._save()

    def _load(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                data = ujson.load(file)
            self.labels = {str(k): str(v) for k, v in data["labels"].items()}
            self._args = {str(k): (str(v), float(at)) for k, (v, at) in data["args"].items()}
            self._trim()
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read and begins anew: %s", self._path, error)

    def _save(self) -> None:
        try:
            write_private(self._path, ujson.dumps({"labels": self.labels, "args": self._args}).encode())
        except OSError as error:
            log.error("labels and ARGs cannot be kept: %s: %s", self._path, error.strerror)


def _size(text: str) -> int:
    """Bytes in a message."""
    return len(ujson.dumps(text))
