"""--plan: what would run where and why; nothing runs."""

from __future__ import annotations

from director.cli.output import answer, note
from director.cli.submission import submission
from director.cli.submit import send
from director.errors import EXIT_OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from director.config.settings import Settings


def run(settings: Settings) -> int:
    """Ask for the plan of the files or of the text and show it."""
    link, plan = send(settings, {"do": "plan", **submission(settings)}, [])
    link.close()
    plans = plan.get("plans") or [plan]
    for each in plans:
        for warning in each.get("warnings") or []:
            note(warning)
    answer(_shown(plans, settings))
    return EXIT_OK


def _shown(plans: Sequence[Mapping[str, Any]], settings: Settings) -> Iterator[str]:
    from director.report import render_plan
    from director.report.formats import json_object, yaml_object

    if len(plans) > 1 and settings.output in ("json", "yaml"):
        yield from (json_object if settings.output == "json" else yaml_object)(list(plans))
        return
    names = settings.words if len(plans) > 1 and settings.output == "table" else ()
    for number, plan in enumerate(plans):
        if names:
            yield f"=== {names[number]}\n"
        yield from render_plan(plan, settings.output, not settings.no_header and not number)
