"""`--verify-audit`: what is wrong with the audit log."""

from __future__ import annotations

from director.cli.output import answer, note
from director.cli.requests import show
from director.cli.server import ask
from director.config.settings import Settings
from director.errors import EXIT_FAILED, EXIT_OK


def verify_audit(settings: Settings) -> int:
    """Print what the server has found; exit code 1 when there is a fault."""
    found = ask(settings, {"do": "verify-audit"})
    faults = found["faults"]
    if faults or settings.output != "table":
        show(settings, faults, {"FILE": "file", "LINE": "line", "NUMBER": "number", "FAULT": "fault"})
    else:
        first, last = found["first"], found["last"]
        answer((f"{found['lines']} lines, {first} to {last}: none is changed, missing or out of order\n",))
    if found["more"]:
        note(f"{found['more']} more faults are not shown")
    if found["waiting"]:
        note(f"{found['waiting']} lines more are in the ledger only; the server's log says why")
    return EXIT_FAILED if faults else EXIT_OK
