"""--job-info and --node-info."""

from __future__ import annotations

from director.cli.connection import Connection
from director.cli.output import answer
from director.errors import EXIT_OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from director.config.settings import Settings


def job(settings: Settings) -> int:
    """Show everything known of a job."""
    from director.report.jobs import render_job

    with Connection(settings) as connection:
        info = connection.ask({"do": "job-info", "id": settings.words[0]})
    answer(render_job(info, settings.output, not settings.no_header))
    return EXIT_OK


def node(settings: Settings) -> int:
    """Show everything known of a node."""
    from director.report.nodes import render_node

    with Connection(settings) as connection:
        info = connection.ask({"do": "node-info", "node": settings.words[0]})
    answer(render_node(info, settings.output, not settings.no_header))
    return EXIT_OK
