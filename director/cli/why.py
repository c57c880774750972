"""--why: why the tasks of a job, or of one node of it, are where they are."""

from __future__ import annotations

from director.cli.output import answer, screen
from director.cli.server import ask
from director.config.settings import Settings
from director.errors import EXIT_OK, UsageError


def why(settings: Settings) -> int:
    """Explain a job, or a job on a node."""
    from director.report.why import render_why

    if len(settings.words) > 2:
        raise UsageError("--why: expected a job and at most one node")
    job, node = (*settings.words, None)[:2]
    found = ask(settings, {"do": "why", "id": job, "node": node})
    answer(render_why(found, settings.output, not settings.no_header, screen()))
    return EXIT_OK
