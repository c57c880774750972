"""The table of commands: every name, its request, its role; fields are checked by name, and so is the caller."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import pytest
from harness import ROOT

from director.api import audit, enrolment, events, follow, health, jobs, labels, nodes, submissions, why
from director.api.commands import Command, Commands
from director.api.requests import Caller, Nothing, decode
from director.config.table import EVERY
from director.errors import NotPermittedError, UsageError
from director.server.audit import AuditTrail
from director.server.events import Events

A = "a" * 16
CALLER = Caller("ann", 1000, 1000, 1)
FILE = {"id": A, "kind": "exec", "name": "exec", "form": "auto", "text": "RUN true", "folder": "/"}
TABLE = {
    "hello": (Nothing, "viewer", {}),
    "health": (Nothing, "viewer", {}),
    "submit": (submissions.Submission, "operator", {"files": [FILE]}),
    "plan": (submissions.Submission, "operator", {"files": [FILE], "options": {"async": True, "timeout": 5}}),
    "resume": (submissions.Resume, "operator", {"id": "last", "new_id": A}),
    "verb-help": (submissions.VerbHelp, "viewer", {"verb": "run"}),
    "wait": (jobs.JobIds, "viewer", {"ids": ["last"]}),
    "list-jobs": (jobs.JobFilter, "viewer", {"state": ["failed"], "since": 5, "node": None, "limit": 10}),
    "job-info": (jobs.JobId, "viewer", {"id": "last"}),
    "list-nodes": (nodes.NodeFilter, "viewer", {"node": "web-*"}),
    "node-info": (nodes.NodeName, "viewer", {"node": "web"}),
    "cancel": (jobs.JobIds, "operator", {"ids": []}),
    "purge-jobs": (jobs.JobFilter, "admin", {}),
    "purge-nodes": (nodes.NodeTarget, "enroller", {}),
    "revoke-node": (nodes.NodeExpression, "admin", {"node": "web"}),
    "rotate-key": (nodes.NodeExpression, "admin", {"node": "web"}),
    "create-token": (enrolment.NewToken, "enroller", {"ttl": 60, "labels": {"tier": "web"}}),
    "list-tokens": (Nothing, "enroller", {}),
    "revoke-token": (enrolment.OldToken, "enroller", {"id": "x", "with_nodes": True}),
    "list-waiting": (enrolment.Waiting, "enroller", {"node": "web", "keys": ["k"]}),
    "accept-node": (enrolment.Chosen, "enroller", {"nodes": [["web", "k"]]}),
    "reject-node": (enrolment.Chosen, "enroller", {"nodes": [["web", "k"]]}),
    "renew-node": (enrolment.Renewal, "enroller", {"node": "web"}),
    "label-node": (labels.LabelChange, "admin", {"node": "web", "labels": {"tier": "web"}, "nodes": {"db": {"x": ""}}}),
    "events": (events.EventsFrom, "viewer", {"epoch": "e", "number": 5, "once": True}),
    "why": (why.Why, "viewer", {"id": "last", "node": "web"}),
    "follow": (follow.Follow, "viewer", {"id": "last", "node": "web-*", "step": 0}),
    "export-jobs": (Nothing, "viewer", {}),
    "export-nodes": (Nothing, "viewer", {}),
    "verify-audit": (Nothing, "admin", {}),
}

# commands that change nothing; all others are written to the audit log
READERS = {
    "hello", "health", "plan", "verb-help", "wait", "list-jobs", "job-info", "list-nodes", "node-info", "list-tokens",
    "list-waiting", "events", "follow", "why", "export-jobs", "export-nodes", "verify-audit",
}  # fmt: skip


class Ledger:
    """Keeps the lines of the audit log."""

    stuck = ""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, *operations: Any, then: Any = None, refusable: bool = False, lazy: bool = False) -> None:
        self.lines += [fields["entry"] for name, fields in operations if name == "audit"]


def commands(permit: Any, ledger: Any = None) -> Commands:
    """The table over parts of a server that are not there."""
    none: Any = None
    parts = (
        jobs.Jobs(none, none, none, none),
        nodes.Nodes(none, none, none, none, 0, none, none),
        submissions.Submissions(none, none, none, none, none),
        enrolment.Enrolments(none, none, none, (), none, none),
        labels.Labels(none, none, none, none),
        audit.Audit(none),
        health.Health(none, "", none, none, none, none, none),
    )
    feeds = events.EventFeed(Events(), none, none), follow.OutputFeed(none, none, none, none)
    explanations = why.Explanations(none, none, none, none)
    return Commands(*parts, permit, AuditTrail(ledger), *feeds, explanations)


def test_every_command_has_a_request_type_and_a_role() -> None:
    table = commands(None).table
    assert {name: (row.request, row.role) for name, row in table.items()} == {
        name: (request, role) for name, (request, role, _) in TABLE.items()
    }
    assert {row.role for row in table.values()} == {"viewer", "operator", "enroller", "admin"}
    assert {name for name, row in table.items() if not row.audited} == READERS


def test_every_reader_is_named_in_the_page_about_the_audit_log() -> None:
    page = (ROOT / "docs/audit.md").read_text()
    named = re.findall(r"`--([a-z-]+)`", page.partition("Commands that only read")[2].partition("\n\n")[0])
    flags = {name for name in READERS if name in EVERY} | {"wait-job", "list-tokens"}
    assert flags <= set(named), "as flags"


def test_every_command_is_in_the_protocols_page() -> None:
    page = (ROOT / "docs/protocol.md").read_text().partition("## Operator's socket")[2]
    rows = [re.findall(r"`([a-z-]+)`", line.split("|")[1]) for line in page.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in row} == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_the_caller_is_checked_before_every_command(name: str) -> None:
    asked: list[tuple[Caller, Command]] = []

    def refuse(caller: Caller, command: Command) -> None:
        asked.append((caller, command))
        raise NotPermittedError(f"not for {caller.user}")

    ledger = Ledger()
    table = commands(refuse, ledger)
    with pytest.raises(NotPermittedError, match="not for ann"):
        table.call(name, TABLE[name][2], CALLER)
    assert asked == [(CALLER, table.table[name])]
    (line,) = ledger.lines
    assert (line["event"], line["command"], line["user"], line["reason"]) == ("denied", name, "ann", "not for ann")


@pytest.mark.parametrize("name", TABLE)
def test_a_request_is_frozen_and_has_no_other_fields(name: str) -> None:
    request, _, values = TABLE[name]
    made = decode(request, values)
    assert is_dataclass(made) and made == decode(request, values)
    with pytest.raises((FrozenInstanceError, TypeError)):
        setattr(made, next((field.name for field in fields(made)), "none"), None)
    with pytest.raises(UsageError, match=r"^colour is not a known field"):
        decode(request, {**values, "colour": "red"})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("job-info", {}, "id is missing"),
        ("job-info", {"id": 5}, "id: expected a text, not 5"),
        ("wait", {"ids": "last"}, "ids: expected a list, not 'last'"),
        ("wait", {"ids": ["a", None]}, r"ids\[1\]: expected a text, not None"),
        ("list-jobs", {"limit": True}, "limit: expected a whole number, not True"),
        ("list-jobs", {"limit": 1.5}, "limit: expected a whole number, not 1.5"),
        ("list-jobs", {"since": "yesterday"}, "since: expected a number, not 'yesterday'"),
        ("list-jobs", {"node": ["a"]}, r"node: expected a text, not \['a'\]"),
        ("submit", {"files": []}, "files: a submission has 1 to 1000 files"),
        ("submit", {"files": [FILE] * 2}, "files: two files of a submission have one id"),
        ("submit", {"files": [{**FILE, "kind": "x"}]}, r"files\[0\].kind: expected one of exec, orchestrate"),
        ("submit", {"files": [{**FILE, "id": "x"}]}, r"files\[0\].id: expected the id of a job"),
        ("submit", {"files": [{**FILE, "text": "x" * (4 << 20 | 1)}]}, "exec: larger than 4 MiB"),
        ("submit", {"files": [{"id": A}]}, r"files\[0\].folder is missing"),
        ("submit", {"files": [FILE], "options": {"args": {"A": 1}}}, "options.args.A: expected a text, not 1"),
        ("submit", {"files": [FILE], "options": {"async": 1}}, "options.async: expected true or false, not 1"),
        ("submit", {"files": [FILE], "options": []}, r"options: expected an object, not \[\]"),
        ("resume", {"id": "last", "new_id": "x"}, "new_id: expected the id of a job"),
        ("none", {}, "the server knows no command 'none'"),
    ],
)
def test_an_error_names_the_field(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        commands(None).call(name, values, CALLER)


def test_fields_get_the_types_of_the_request() -> None:
    assert decode(jobs.JobFilter, {"ids": ["a"], "since": 5}) == jobs.JobFilter(ids=("a",), since=5.0)
    made = decode(submissions.Submission, {"files": [FILE], "options": {"timeout": 5, "name": None}})
    assert made == submissions.Submission((submissions.File(**FILE),), {"timeout": 5.0, "name": None})
    assert isinstance(made.options["timeout"], float)
