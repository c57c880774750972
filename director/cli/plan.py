"""--plan: shows what would run where and why, and runs nothing."""

from __future__ import annotations

from director.cli.output import answer, note
from director.cli.submission import submission
from director.cli.submit import send
from director.errors import EXIT_OK
from director.report.plans import render_plans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from director.config.settings import Settings


def run(settings: Settings) -> int:
    """Show the plan of the files or of the text."""
    connection, plan = send(settings, {"do": "plan", **submission(settings)}, [])
    connection.close()
    plans = plan.get("plans") or [plan]
    for each in plans:
        for warning in each.get("warnings") or []:
            note(warning)
    answer(render_plans(plans, settings.words, settings.output, not settings.no_header))
    return EXIT_OK
