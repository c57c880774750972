"""The table of actions; the function of an action is imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

from director.config.settings import Settings
from director.errors import EXIT_USAGE

ACTIONS: dict[str, str] = {
    "server": "director.daemon.run:server",
    "client": "director.daemon.run:client",
    "exec": "director.cli.submissions:run",
    "orchestrate": "director.cli.submissions:run",
    "resume": "director.cli.submissions:resume",
    "plan": "director.cli.submissions:plan",
    "list-jobs": "director.cli.requests:list_jobs",
    "list-nodes": "director.cli.requests:list_nodes",
    "job-info": "director.cli.requests:job_info",
    "node-info": "director.cli.requests:node_info",
    "follow": "director.cli.follow:follow",
    "why": "director.cli.why:why",
    "wait-job": "director.cli.waiting:wait_job",
    "cancel-job": "director.cli.requests:cancel_job",
    "purge-jobs": "director.cli.requests:purge_jobs",
    "purge-nodes": "director.cli.requests:purge_nodes",
    "create-token": "director.cli.enrolment:create_token",
    "list-tokens": "director.cli.enrolment:list_tokens",
    "revoke-token": "director.cli.enrolment:revoke_token",
    "accept-node": "director.cli.enrolment:accept_node",
    "reject-node": "director.cli.enrolment:reject_node",
    "renew-node": "director.cli.enrolment:renew_node",
    "revoke-node": "director.cli.enrolment:revoke_node",
    "label-node": "director.cli.labels:label_node",
    "rotate-key": "director.cli.enrolment:rotate_key",
    "verify-audit": "director.cli.audit:verify_audit",
    "export-jobs": "director.cli.export:run",
    "export-nodes": "director.cli.export:run",
    "doctor": "director.cli.doctor:doctor",
    "show-config": "director.cli.doctor:show_config",
    "completion": "director.cli.completion:script",
    "version": "director.cli.output:version",
}


def run(settings: Settings) -> int:
    """Run the action of a call; the exit code. Raises DirectorError."""
    if not settings.action:
        from director.config.help import overview

        sys.stderr.write(overview())
        return EXIT_USAGE
    module, _, name = ACTIONS[settings.action].partition(":")
    code: int = getattr(import_module(module), name)(settings)
    return code
