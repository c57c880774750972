"""A finding of the doctor, and the rules that turn what was measured into verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

OK, WARNING, FAILED = "ok", "warning", "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: `configuration`, `server`, `client` or `machine`.
        check: what was looked at.
        verdict: `ok`, `warning` or `failed`.
        found: what was found, one line.
        remedy: what to do; "" when all is well.
    """

    part: str
    check: str
    verdict: str
    found: str
    remedy: str = ""

    def row(self) -> dict[str, Any]:
        """The finding as a row of the listing."""
        return asdict(self)


def rated(part: str, check: str, value: float, warn: float, fail: float, found: str, remedy: str) -> Finding:
    """A finding about a number that is well below `warn`, and a failure from `fail` on."""
    verdict = FAILED if value >= fail else WARNING if value >= warn else OK
    return Finding(part, check, verdict, found, remedy if verdict != OK else "")


def unless(problem: object, part: str, check: str, found: str, remedy: str, verdict: str = WARNING) -> Finding:
    """A finding that is well unless there is a problem."""
    return Finding(part, check, verdict if problem else OK, found, remedy if problem else "")


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing has failed; warnings do not count."""
    return all(finding.verdict != FAILED for finding in findings)


def share(part: float, whole: float) -> str:
    """`12 of 100 (12%)`."""
    return f"{part:g} of {whole:g} ({100 * part / whole:.0f}%)" if whole else f"{part:g}"


def size(count: float) -> str:
    """Bytes with a unit, as `3.4 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB" if count < 1024 else f"{count / 1024:.1f} TiB"
