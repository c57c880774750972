"""WAIT: waits for a time, for a URL that answers, or for a command that succeeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, success
from director.verbs.probes import command_body, probe, probe_raws, url_body

if TYPE_CHECKING:
    from director.language.instructions import Instruction

_EXPECTED = "expected one of --seconds N, --url URL, --cmd COMMAND"
RETRY, RETRY_WAIT = 30, 1.0


class Wait(Verb):
    """WAIT --seconds N, WAIT --url URL or WAIT --cmd COMMAND…: wait until the time is over, the URL answers with
    2xx or 3xx, or the command succeeds.

    The command is the rest of the line, in shell form or JSON form. A URL or a command is tried at most `--retry`
    times, with a pause of `--retry-wait` between two tries; then the step fails.

        WAIT --seconds 5
        WAIT --url http://localhost:8080/ready --retry 60
        WAIT --cmd test -e /run/app.pid
    """

    name = "WAIT"
    always = True
    owned = frozenset(("seconds", "url", "cmd", "insecure", "retry", "retry-wait"))
    flags = (
        Flag("seconds", "duration", "how long to wait", metavar="N"),
        Flag("url", "str", "URL that must answer with 2xx or 3xx", metavar="URL", per_node=True),
        Flag("cmd", "rest", "the rest of the line: a command that must succeed", metavar="COMMAND"),
        Flag("insecure", "bool", "accept any certificate", default=False),
        Flag("retry", "count", "tries in all", aliases=("retries",), default=RETRY, metavar="N"),
        Flag("retry-wait", "duration", "pause between two tries", default=RETRY_WAIT),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`seconds`; or `url`, `cmd` or `argv` with `retry` and `pause`."""
        flags = planning.flags
        kinds = [name for name in ("seconds", "url", "cmd") if name in flags]
        if len(kinds) != 1:
            raise planning.fail(f"WAIT waits for one thing; {_EXPECTED}")
        if instruction.text.strip() or instruction.args:
            raise planning.fail(f"WAIT --{kinds[0]} takes nothing behind its value; {_EXPECTED}")
        if "seconds" in flags:
            return {"seconds": flags["seconds"]}
        tries = {"retry": max(1, flags.get("retry", RETRY)), "pause": flags.get("retry-wait", RETRY_WAIT)}
        if "url" in flags:
            return {**url_body(flags, planning.fail), **tries}
        command = command_body(flags["cmd"], planning.fail)
        if command is None:
            raise planning.fail("WAIT --cmd needs a command; expected WAIT --cmd COMMAND")
        return {**command, **tries}

    def raws(self, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """The URL or the command."""
        return probe_raws(body)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Try until a try succeeds or none is left; the executor ends the step at its timeout."""
        if "seconds" in body:
            node.sleep(body["seconds"])
            return success()
        for left in range(body["retry"] - 1, -1, -1):
            fault, outcome = probe(body, node)
            if not fault:
                return outcome
            if left:
                node.sleep(body["pause"])
        raise VerbError(f"{fault} ({body['retry']} tries)" if body["retry"] > 1 else fault)
