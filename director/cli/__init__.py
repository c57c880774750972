"""The table of actions; the function of an action is imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

from director.errors import EXIT_USAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from director.config.settings import Settings

ACTIONS: dict[str, str] = {
    "server": "director.daemon.run:server",
    "client": "director.daemon.run:client",
    "exec": "director.cli.submit:run",
    "orchestrate": "director.cli.submit:run",
    "resume": "director.cli.submit:resume",
    "plan": "director.cli.plan:run",
    "list-jobs": "director.cli.listing:jobs",
    "list-nodes": "director.cli.listing:nodes",
    "job-info": "director.cli.details:job",
    "node-info": "director.cli.details:node",
    "wait-job": "director.cli.waiting:wait_job",
    "cancel-job": "director.cli.cancel_purge:cancel",
    "purge-jobs": "director.cli.cancel_purge:purge_jobs",
    "purge-nodes": "director.cli.cancel_purge:purge_nodes",
    "export-jobs": "director.cli.export:jobs",
    "export-nodes": "director.cli.export:nodes",
    "version": "director.cli.output:version",
}


def run(settings: Settings) -> int:
    """Run the action of a call; the exit code. Raises DirectorError."""
    if not settings.action:
        from director.config.parser import build

        sys.stderr.write(build().format_help())
        return EXIT_USAGE
    module, _, name = ACTIONS[settings.action].partition(":")
    code: int = getattr(import_module(module), name)(settings)
    return code
