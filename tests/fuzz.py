"""Messages as a node gone bad sends them: every kind, with fields of wrong types, sizes and shapes, and plain noise."""

from __future__ import annotations

import random
from typing import Any

import ujson

from director.protocol import messages
from director.protocol.packing import pack

NAMES = ("web", "", "all", "../../etc", "a" * 5000, "\0", "é\ud800", "{{ 7*7 }}", "$(id)", "\x1b[2J")
DIGESTS = ("0" * 64, "f" * 64, "../" * 21 + "x", "", "g" * 64)


class Fuzz:
    """A stream of messages from one seed.

    Args:
        jobs: ids that the server knows, to be used among others.
        without: kinds of messages that are left out.
    """

    def __init__(self, seed: int, jobs: tuple[str, ...] = (), without: frozenset[str] = frozenset()) -> None:
        self._random = random.Random(seed)
        self._jobs = (*jobs, "a" * 16, "", "x" * 300)
        self._kinds = [kind for kind in messages.KINDS if kind not in without]

    def parts(self) -> list[bytes]:
        """The parts of the next message."""
        draw = self._random.random()
        if draw < 0.05:
            return [self._random.randbytes(self._random.randrange(1, 200))]
        if draw < 0.10:
            return [self._cut(self._header())]
        payload = [self._random.randbytes(self._random.choice((0, 1, 10, 1000))) for _ in range(self._count())]
        return [self._header(), *payload]

    def frame(self) -> bytes:
        """The next message as one frame; sometimes not well packed."""
        frame = pack(self.parts())
        if self._random.random() < 0.03:
            at = self._random.randrange(len(frame)) if frame else 0
            return frame[:at] + self._random.randbytes(3) + frame[at:]
        return frame or b" "

    def _count(self) -> int:
        return self._random.choice((0, 0, 0, 1, 1, 2, 5))

    def _cut(self, header: bytes) -> bytes:
        return header[: self._random.randrange(1, len(header))]

    def _header(self) -> bytes:
        kind = self._random.choice(self._kinds)
        fields = {name: self._field(name, types) for name, types in messages.KINDS[kind].fields.items()}
        for name in list(fields):
            if self._random.random() < 0.05:
                del fields[name]
        if self._random.random() < 0.1:
            fields[self._random.choice(("extra", "profile", "v", "name"))] = self._value(0)
        if self._random.random() < 0.02:
            kind = self._random.choice(("", "no such kind", "__init__", kind.upper()))
        return ujson.dumps((kind, fields), reject_bytes=False).encode("utf-8", "surrogatepass")

    def _field(self, name: str, types: Any) -> Any:
        """A value of the right type mostly, so that handlers are reached."""
        if self._random.random() < 0.15:
            return self._value(0)
        types = types if isinstance(types, tuple) else (types,)
        if name == "job":
            return self._random.choice(self._jobs)
        if name == "v":
            return messages.VERSION
        if name == "digest":
            return self._random.choice(DIGESTS)
        if str in types:
            return self._random.choice(NAMES)
        if bool in types:
            return self._random.random() < 0.5
        if int in types or float in types:
            return self._random.choice((0, 1, 2, 7, -1, 255, 256, 2**31, 2**53, 2**63, -(2**63), 10**40))
        if list in types:
            return [self._row() for _ in range(self._random.randrange(4))]
        return {self._random.choice(NAMES): self._value(1) for _ in range(self._random.randrange(3))}

    def _row(self) -> Any:
        if self._random.random() < 0.5:
            return self._value(1)
        job = self._random.choice(self._jobs)
        step, size = self._random.choice((0, 1, -1, 10**6)), self._random.choice((0, 1, 10**9, -5))
        result = [step, self._random.choice("SFCTXELKQZ"), 0, 0.0, 0.0, 0.0, 0.0, 1, "", 0, size, 0, {}]
        if self._random.random() < 0.3:
            result[self._random.randrange(len(result))] = self._value(1)
        return [job, [result], [[0, 0.0]], [[0, self._random.choice((0, 10**9)), "L", "r"]]]

    def _value(self, depth: int) -> Any:
        draw = self._random.randrange(8 if depth < 3 else 5)
        if draw < 5:
            number = self._random.choice((0, -1, 2**53, 10**300, 0.5, -1e308))
            return (None, True, number, self._random.choice(NAMES), "x" * self._random.choice((0, 10, 3000)))[draw]
        if draw == 5:
            return [self._value(depth + 1) for _ in range(self._random.randrange(4))]
        return {self._random.choice(NAMES): self._value(depth + 1) for _ in range(self._random.randrange(3))}
