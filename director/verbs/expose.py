"""EXPOSE: waits until ports are bound on the node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from director.errors import VerbError
from director.language.instructions import Instruction
from director.verbs.arguments import Words, rendered_words
from director.verbs.base import Node, Outcome, Planning, Verb, success

Port = tuple[int, str]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?", re.IGNORECASE)
_BOUND = {"tcp": "0A", "udp": "07"}  # kernel states: listening, and unconnected
_SHOWN = 20


class Expose(Verb):
    """EXPOSE PORT[-PORT][/tcp|udp]…: wait until all these ports are bound on the node.

    The step fails when some are not bound within its `--timeout`.

        EXPOSE --timeout 30 80 443/tcp 8000-8010 53/udp
    """

    name = "EXPOSE"
    argument = Words("EXPOSE needs a port; expected something like 80 443/tcp 8000-8010 53/udp")
    needs = "ports such as 80 443/tcp"
    looks = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`words`, raw; those without templates are checked now."""
        body = super().parse(instruction, planning)
        for word in body["words"]:
            if not re.search(r"[{$\"'\\`]", word):
                ports_of(word, planning.fail)
        return body

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Read the kernel's tables again and again, with growing pauses of at most a second."""
        wanted = [port for word in rendered_words(body, node, "port") for port in ports_of(word, VerbError)]
        pause = 0.05
        while missing := _missing(wanted):
            left = node.remaining() - 0.25  # fail with the ports in the reason before the timeout does
            if left <= 0:
                raise VerbError(f"not bound: {_shown(missing)}")
            node.sleep(min(pause, left))
            pause = min(pause * 2, 1.0)
        return success("\n".join(f"{port}/{kind}" for port, kind in wanted))


def ports_of(word: str, fail: Any) -> list[Port]:
    """The ports of `80`, `443/tcp` or `8000-8010`. Raises what `fail` makes for anything else."""
    match = _PORT.fullmatch(word)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if match is None or not 0 < first <= last <= 65535:
        raise fail(f"{word!r} is not a port; expected something like 80, 443/tcp, 8000-8010 or 53/udp")
    return [(port, (match[3] or "tcp").lower()) for port in range(first, last + 1)]


def bound(kind: str, root: str = "/proc/net/") -> set[int]:
    """Ports of `tcp` or `udp` that are bound on this node, over IPv4 or IPv6."""
    return {port for suffix in ("", "6") for port in _table(f"{root}{kind}{suffix}", _BOUND[kind])}


def _table(path: str, state: str) -> Iterator[int]:
    try:
        with open(path, encoding="ascii") as file:
            next(file, None)
            for line in file:
                fields = line.split()
                if fields[3] == state:
                    yield int(fields[1].rpartition(":")[2], 16)
    except OSError:
        return


def _missing(wanted: Iterable[Port]) -> list[Port]:
    there = {kind: bound(kind) for kind in {kind for _, kind in wanted}}
    return [(port, kind) for port, kind in wanted if port not in there[kind]]


def _shown(ports: list[Port]) -> str:
    text = " ".join(f"{port}/{kind}" for port, kind in ports[:_SHOWN])
    return text + (f" and {len(ports) - _SHOWN} more" if len(ports) > _SHOWN else "")
