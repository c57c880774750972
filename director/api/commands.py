"""The table of commands, and `Commands.call`, through which every front door runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from director import __version__
from director.api.audit import Audit, of_call
from director.api.enrolment import Chosen, Enrolments, NewToken, OldToken, Renewal, Waiting
from director.api.events import EventFeed, EventsFrom
from director.api.follow import Follow, OutputFeed
from director.api.health import Health
from director.api.jobs import JobFilter, JobId, JobIds, Jobs
from director.api.labels import LabelChange, Labels
from director.api.nodes import NodeExpression, NodeFilter, NodeName, Nodes, NodeTarget
from director.api.permissions import NoRoleError, Rights
from director.api.requests import NOT_AUDITED, Caller, Nothing, decode
from director.api.submissions import Resume, Submission, Submissions, VerbHelp
from director.api.why import Explanations, Why
from director.errors import NotPermittedError, UsageError
from director.server.audit import AuditTrail, Entry

#: The answer of a command: an object, a JSON text (`bytes`), or an iterator of objects, lists and JSON texts.
#: A JSON text that is a `Cut` goes on in the next item.
Answer = Mapping[str, Any] | bytes | Iterator[Any]


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        request: the type of its request, a dataclass.
        role: the least role of the caller: `viewer`, `operator`, `enroller` or `admin`.
        handler: takes the request and the caller. Errors of the request come from the call, not from the iterator,
            so that they precede any part of the answer.
        scoped: whether the handler keeps to the nodes of `caller.rights`.
        audited: whether the handler writes `caller.entry` before it does anything; refusals are written in any case.
    """

    request: type[Any]
    role: str
    handler: Callable[[Any, Caller], Answer]
    scoped: bool = False
    audited: bool = False


#: What the caller may reach with the command. Raises NotPermittedError when it may not run it.
Permit = Callable[[Caller, Command], Rights]


class Commands:
    """Runs commands by name.

    Args:
        permit: called before every command.
        trail: where the audit log is written.
    """

    def __init__(
        self, jobs: Jobs, nodes: Nodes, submissions: Submissions, enrolments: Enrolments, labels: Labels,
        audit: Audit, health: Health, permit: Permit, trail: AuditTrail, feed: EventFeed, outputs: OutputFeed,
        explanations: Explanations,
    ) -> None:  # fmt: skip
        self._permit, self._trail, self._feed = permit, trail, feed
        self.table = {
            "hello": Command(Nothing, "viewer", nodes.hello, scoped=True),
            "health": Command(Nothing, "viewer", health.health, scoped=True),
            "submit": Command(Submission, "operator", submissions.submit, scoped=True, audited=True),
            "plan": Command(Submission, "operator", submissions.plan, scoped=True),
            "resume": Command(Resume, "operator", submissions.resume, scoped=True, audited=True),
            "verb-help": Command(VerbHelp, "viewer", submissions.verb_help, scoped=True),
            "wait": Command(JobIds, "viewer", jobs.wait, scoped=True),
            "list-jobs": Command(JobFilter, "viewer", jobs.list_jobs, scoped=True),
            "job-info": Command(JobId, "viewer", jobs.job_info, scoped=True),
            "list-nodes": Command(NodeFilter, "viewer", nodes.list_nodes, scoped=True),
            "node-info": Command(NodeName, "viewer", nodes.node_info, scoped=True),
            "cancel": Command(JobIds, "operator", jobs.cancel, scoped=True, audited=True),
            "purge-jobs": Command(JobFilter, "admin", jobs.purge_jobs, audited=True),
            "purge-nodes": Command(NodeTarget, "enroller", nodes.purge_nodes, scoped=True, audited=True),
            "revoke-node": Command(NodeExpression, "admin", nodes.revoke_nodes, audited=True),
            "rotate-key": Command(NodeExpression, "admin", nodes.rotate_keys, audited=True),
            "create-token": Command(NewToken, "enroller", enrolments.create_token, scoped=True, audited=True),
            "list-tokens": Command(Nothing, "enroller", enrolments.list_tokens, scoped=True),
            "revoke-token": Command(OldToken, "enroller", enrolments.revoke_token, scoped=True, audited=True),
            "list-waiting": Command(Waiting, "enroller", enrolments.list_waiting, scoped=True),
            "accept-node": Command(Chosen, "enroller", enrolments.accept_node, scoped=True, audited=True),
            "reject-node": Command(Chosen, "enroller", enrolments.reject_node, scoped=True, audited=True),
            "renew-node": Command(Renewal, "enroller", enrolments.renew_node, scoped=True, audited=True),
            "label-node": Command(LabelChange, "admin", labels.label_node, audited=True),
            "events": Command(EventsFrom, "viewer", feed.events, scoped=True),
            "why": Command(Why, "viewer", explanations.why, scoped=True),
            "follow": Command(Follow, "viewer", outputs.follow, scoped=True),
            "export-jobs": Command(Nothing, "viewer", jobs.export_jobs, scoped=True),
            "export-nodes": Command(Nothing, "viewer", nodes.export_nodes, scoped=True),
            "verify-audit": Command(Nothing, "admin", audit.verify),
        }

    def call(self, name: str, fields: Mapping[str, Any], caller: Caller) -> Answer:
        """Check the fields of a request, then the caller, then run the command.

        Raises:
            UsageError: no such command, or a wrong field. NotPermittedError: the caller may not run it.
            DirectorError: an error of the command.
        """
        command = self.table.get(name)
        if command is None:
            raise UsageError(f"the server knows no command {name!r}; it runs version {__version__}")
        request = decode(command.request, fields)
        entry = Entry(self._trail, caller.uid, partial(of_call, name, request, caller))
        try:
            rights = self._permit(caller, command)
            entry.role = rights.role
            check = partial(self._check, caller, command, rights)
            caller = replace(caller, rights=rights, entry=entry if command.audited else NOT_AUDITED, check=check)
            answer = command.handler(request, caller)
            if command.audited:
                self._feed.ordered(name, caller)
            return _checked(answer, check) if isinstance(answer, Iterator) else answer
        except NoRoleError:
            entry.deny_stranger()
            raise
        except NotPermittedError as error:
            entry.deny(str(error))
            raise
        except Exception as error:
            entry.fail(str(error))
            raise

    def _check(self, caller: Caller, command: Command, rights: Rights) -> None:
        """Check that the caller still has the rights that it began with. Raises NotPermittedError."""
        if self._permit(caller, command) != rights:
            raise NotPermittedError("your roles were changed meanwhile; ask again")


def _checked(answer: Iterator[Any], check: Callable[[], None]) -> Iterator[Any]:
    """The items of an answer, as long as the caller may have them: some never end. Raises NotPermittedError."""
    for item in answer:
        check()
        yield item
