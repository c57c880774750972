"""HEALTHCHECK: probes until a probe succeeds, or several have failed in a row."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, success
from director.verbs.probes import command_body, probe, probe_raws, url_body

if TYPE_CHECKING:
    from director.language.instructions import Instruction

_EXPECTED = "expected HEALTHCHECK CMD COMMAND, HEALTHCHECK --url URL or HEALTHCHECK NONE"
_DEFAULTS = {"interval": 30.0, "timeout": 30.0, "start-period": 0.0, "start-interval": 5.0, "retries": 3}
_COMMAND = re.compile(r"CMD(?:\s+|$)(.*)", re.IGNORECASE | re.DOTALL)


class HealthCheck(Verb):
    """HEALTHCHECK [flags] CMD COMMAND, or HEALTHCHECK [flags] --url URL: probe until the first success.

    The first probe is made at once, the next ones at each `--interval`. The step succeeds with the first probe that
    does and fails after `--retries` failures in a row; failures within the start period do not count. Here `--timeout`
    limits one probe, not the step. HEALTHCHECK NONE does nothing.

        HEALTHCHECK --interval=5s --retries=6 CMD curl -fsS http://localhost/ready
        HEALTHCHECK --start-period=1m --url https://localhost/ready
    """

    name = "HEALTHCHECK"
    json_form = "CMD"
    always = True
    owned = frozenset((*_DEFAULTS, "url", "insecure"))
    flags = (
        Flag("interval", "duration", "from one probe to the next", default=30.0),
        Flag("timeout", "duration", "how long one probe may take", default=30.0),
        Flag("start-period", "duration", "failures within it do not count", default=0.0),
        Flag("start-interval", "duration", "from one probe to the next within the start period", default=5.0),
        Flag("retries", "count", "failures in a row that fail the step", default=3, metavar="N"),
        Flag("url", "str", "URL that must answer with 2xx or 3xx", metavar="URL", per_node=True),
        Flag("insecure", "bool", "accept any certificate", default=False),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`none`; or `url`, `cmd` or `argv` with the flags' values."""
        flags, text = planning.flags, instruction.text.strip()
        if text.upper() == "NONE" and "url" not in flags:
            planning.note("HEALTHCHECK NONE has no effect: no check is inherited")
            return {"none": True}
        body: dict[str, Any] = {name: flags.get(name, default) for name, default in _DEFAULTS.items()}
        body["retries"] = max(1, body["retries"])
        body["interval"], body["start-interval"] = max(0.01, body["interval"]), max(0.01, body["start-interval"])
        if "url" in flags:
            if text:
                raise planning.fail(f"HEALTHCHECK --url takes no command; {_EXPECTED}")
            return {**body, **url_body(flags, planning.fail)}
        return {**body, **_command(text, instruction, planning)}

    def raws(self, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """The URL or the command."""
        return probe_raws(body)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Probe at once, then at each interval."""
        if body.get("none"):
            return success()
        began = time.monotonic()
        failures = 0
        while True:
            at = time.monotonic()
            fault, outcome = probe(body, node, body["timeout"])
            if not fault:
                return outcome
            starting = time.monotonic() - began < body["start-period"]
            failures = 0 if starting else failures + 1
            if failures >= body["retries"]:
                raise VerbError(f"unhealthy: {fault} ({failures} in a row)")
            pause = body["start-interval" if starting else "interval"]
            node.sleep(max(0.0, at + pause - time.monotonic()))


def _command(text: str, instruction: Instruction, planning: Planning) -> dict[str, Any]:
    match = _COMMAND.fullmatch(text)
    if match is None:
        raise planning.fail(f"HEALTHCHECK does not know {text.split()[0]!r}; {_EXPECTED}" if text else _EXPECTED)
    command = command_body(match[1], planning.fail)
    if command is None:
        raise planning.fail(f"HEALTHCHECK CMD needs a command; {_EXPECTED}")
    return command
