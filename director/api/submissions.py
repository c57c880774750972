"""The commands that plan texts: submit, show the plan, resume a job, show a verb's manual."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict

import gevent
import ujson

from director import ids
from director import states as st
from director.api.guard import Guard, UnconfirmedError
from director.api.job_access import JobAccess
from director.api.requests import Caller
from director.api.sealing import check_names, seal
from director.errors import NoTargetError, NotPermittedError, StoreError, UsageError
from director.scheduler.blocks import nodes_of
from director.server.acceptance import Accepted
from director.server.audit import shown
from director.server.dry_run import DryRun, DryRunResult
from director.server.dry_run_parts import steps_of
from director.server.ledger_client import LedgerClient
from director.server.open_jobs import head_of
from director.server.planner_pool import PlannerPool
from director.server.resume import plan_of, succeeded_of
from director.server.roster import Roster
from director.server.scheduler import Scheduler
from director.targets import resolve

FILES_LIMIT = 1000
TEXT_LIMIT = 4 * 1024 * 1024
KINDS = ("exec", "orchestrate")
OPTIONS_SHOWN = ("target", "timeout", "valid_for", "no_cache", "extend_args", "async", "name")  # in the audit log
SHOWN = 200  # characters of each text of a submission that is refused
Row = dict[str, Any]


class File(TypedDict):
    """One text of a submission.

    `id` is that of its job; `kind` is one of `KINDS`; `name` is shown in errors; `form` is `auto`, `containerfile` or
    `yaml`; `folder` is where relative sources are looked for.
    """

    id: str
    kind: str
    name: str
    form: str
    text: str
    folder: str


Options = TypedDict(
    "Options",
    {
        "target": list[str], "timeout": float, "valid_for": float, "no_cache": bool, "args": dict[str, str],
        "extend_args": bool, "async": bool, "name": str | None,
    },
    total=False,
)  # fmt: skip
DEFAULTS = Options(target=[], timeout=600.0, valid_for=3600.0, no_cache=False, args={}, extend_args=False, name=None)
DEFAULTS["async"] = False


@dataclass(frozen=True, slots=True)
class Submission:
    """Texts that become jobs, all of them or none. Raises UsageError: a wrong number of texts, id, kind or size.

    Attributes:
        again: the caller has sent it before and got no answer.
        secrets: the names of the secrets that the caller has.
        guard: what must hold for it to be accepted.
    """

    files: tuple[File, ...]
    options: Options = field(default_factory=lambda: Options())
    again: bool = False
    secrets: tuple[str, ...] = ()
    guard: Guard = field(default_factory=Guard)

    def shown(self) -> Row:
        """What the audit log shows of it: of ARGs and secrets only the names."""
        files = [{"name": file["name"], "job": file["id"], "text": file["text"][:SHOWN]} for file in self.files]
        return {"files": files, "options": shown_options(self.options), "secrets": self.secrets}

    def __post_init__(self) -> None:
        check_names(self.secrets)
        if not 0 < len(self.files) <= FILES_LIMIT:
            raise UsageError(f"files: a submission has 1 to {FILES_LIMIT} files")
        for number, file in enumerate(self.files):
            if file["kind"] not in KINDS:
                raise UsageError(f"files[{number}].kind: expected one of {', '.join(KINDS)}")
            _check_id(file["id"], f"files[{number}].id")
            if len(file["text"]) > TEXT_LIMIT:
                raise UsageError(f"{file['name']}: larger than {TEXT_LIMIT >> 20} MiB")
        if len({file["id"] for file in self.files}) != len(self.files):
            raise UsageError("files: two files of a submission have one id")


@dataclass(frozen=True, slots=True)
class Resume:
    """Asks for a job `new_id` that runs what did not succeed in job `id`; `options` has only those that differ."""

    id: str
    new_id: str
    options: Options = field(default_factory=lambda: Options())
    again: bool = False
    secrets: tuple[str, ...] = ()
    guard: Guard = field(default_factory=Guard)

    def shown(self) -> Row:
        """What the audit log shows of it."""
        options = shown_options(self.options)
        return {"id": self.id, "new_id": self.new_id, "options": options, "secrets": self.secrets}

    def __post_init__(self) -> None:
        check_names(self.secrets)
        _check_id(self.new_id, "new_id")


@dataclass(frozen=True, slots=True)
class VerbHelp:
    """Asks for the manual of a verb."""

    verb: str


class Submissions:
    """Answers the commands that plan texts."""

    def __init__(
        self, scheduler: Scheduler, planners: PlannerPool, ledger: LedgerClient, roster: Roster, dry_run: DryRun
    ) -> None:
        self._scheduler, self._planners, self._ledger, self._roster = scheduler, planners, ledger, roster
        self._dry_run = dry_run
        self._access = JobAccess(scheduler, roster, ledger)
        self._under_way: set[str] = set()

    def submit(self, request: Submission, caller: Caller) -> Row:
        """Plan every text, then accept all of them: `{"jobs": [{id, name}], "notes": [text]}`.

        A repeated submission has the same answer and makes no further jobs. For more nodes than its guard allows
        the answer is `{"confirm": {nodes, reboots}}`, see `UnconfirmedError`, and nothing is accepted.

        Raises:
            NotPermittedError: the job would reach nodes outside of the caller's scope.
            DirectorError: a text, a target or a source is wrong, or the server accepts no submissions now.
        """
        options = Options(**{**DEFAULTS, **request.options})
        digests = {file["id"]: _sha256([file, options]) for file in request.files}
        with self._once(digests):
            known = self._is_known(digests, request.again)
            try:
                notes = [] if known else self._accept(request, options, digests, caller)
            except UnconfirmedError as error:
                return {"confirm": error.question}
        jobs = [{"id": file["id"], "name": _name(file, options)} for file in request.files]
        return {"jobs": jobs, "notes": notes}

    def plan(self, request: Submission, caller: Caller) -> Row:
        """The plan of a submission as `--plan` shows it, or `{"plans": [one for each text]}`; nothing is accepted.

        Raises:
            DirectorError: as in `submit`.
        """
        options = Options(**{**DEFAULTS, **request.options})
        answers = []
        for file in request.files:
            meta, chunks = self._plan(file, options, request.secrets, caller, explain=True)
            head = head_of(_name(file, options), file["kind"], options)
            answers.append(explain(meta, chunks, self._dry_run.look(meta, chunks, head)))
        return answers[0] if len(answers) == 1 else {"plans": answers}

    def resume(self, request: Resume, caller: Caller) -> Row:
        """Accept what did not succeed in a final job as a new one; the answer is that of `submit`.

        Raises:
            NotFoundError: there is no such job. UsageError: it is not final. NoTargetError: `target` leaves no node.
            NotPermittedError: the job reaches nodes outside of the caller's scope.
            DirectorError: the server accepts no submissions now.
        """
        digests = {request.new_id: _sha256(["resume", request.id, request.options])}
        with self._once(digests):
            known = self._is_known(digests, request.again)
            job = request.new_id if known else self._access.find(request.id, caller)
            row = ujson.loads(self._ledger.ask("resume_record", id=job))
            name = (request.options.get("name") or row["name"])[:200]
            try:
                notes = [] if known else self._accept_rest(row, name, request, digests, caller)
            except UnconfirmedError as error:
                return {"confirm": error.question}
        return {"jobs": [{"id": request.new_id, "name": name}], "notes": notes}

    def verb_help(self, request: VerbHelp, caller: Caller) -> Row:
        """The manual of a verb: `{"text": text}`. Raises UsageError: there is no such verb, or it cannot be loaded."""
        return {"text": self._planners.manual(request.verb.upper()[:100])}

    def _plan(
        self, file: File, options: Options, secrets: Sequence[str], caller: Caller, explain: bool = False
    ) -> tuple[Row, list[bytes]]:
        """The plan of one text, made of the nodes in the caller's scope. Raises DirectorError."""
        request = {"file": file, "options": options, "explain": explain, "scope": caller.rights.scope.texts}
        request["secrets"] = secrets
        meta, chunks = self._planners.plan(request, caller.sources)
        caller.rights.require_plan(meta, self._roster)
        return meta, chunks

    @contextmanager
    def _once(self, names: Collection[str]) -> Iterator[None]:
        """A context in which no other request for these jobs runs; waits for those that do."""
        while self._under_way.intersection(names):
            gevent.sleep(0.05)
        self._under_way.update(names)
        try:
            yield
        finally:
            self._under_way.difference_update(names)

    def _is_known(self, digests: Mapping[str, str], again: bool) -> bool:
        """Whether this very request was accepted before.

        Args:
            digests: job to the digest of the request that asks for it.
            again: the request may have been accepted, and lost with a damaged ledger.

        Raises:
            UsageError: another request had one of these ids. StoreError: whether this one was accepted is not known.
        """
        found = [ujson.loads(self._ledger.ask("find", id=job)) for job in digests]
        if any(found) and [row and row["digest"] for row in found] != list(digests.values()):
            raise UsageError("another job has this id; submit again with a new one")
        if again and self._ledger.lost and not any(found):
            raise StoreError(f"{self._ledger.lost}; whether {' '.join(digests)} was accepted and ran is not known")
        return any(found)

    def _accept(self, request: Submission, options: Options, digests: Mapping[str, str], caller: Caller) -> list[str]:
        self._check_ledger()
        jobs: list[Accepted] = []
        notes: list[str] = []
        plans = [self._plan(file, options, request.secrets, caller) for file in request.files]
        request.guard.check(meta for meta, _ in plans)
        for file, (meta, chunks) in zip(request.files, plans, strict=True):
            notes += meta.pop("notes", [])
            kept = {**options, "file": file["name"], "folder": file["folder"]}
            record = _record(file["id"], digests, _name(file, options), file["kind"], kept, meta, caller)
            secrets = list(meta.get("secrets", ()))
            arguments = shown({**file, "options": shown_options(options), "secrets": secrets})
            entry = partial(caller.entry.line, job=file["id"], arguments=arguments)
            sealed = seal(file["id"], meta, {}, request.secrets, caller, self._roster)
            jobs.append(Accepted(meta, chunks, record, entry=entry, sealed=sealed))
        used = {name for job in jobs for name in job.meta.get("secrets", ())}
        notes += [f"no step uses the secret {name}" for name in request.secrets if name not in used]
        if not options["async"]:
            for before, after in itertools.pairwise(jobs):
                before.meta["before"], after.meta["after"] = after.record["id"], before.record["id"]
        caller.check()  # the caller may have taken long to send sources and secrets
        self._scheduler.accept(jobs)
        return notes

    def _accept_rest(
        self, row: Row, name: str, request: Resume, digests: Mapping[str, str], caller: Caller
    ) -> list[str]:
        if row["state"] not in st.JOB_FINAL:
            raise UsageError(f"job {row['id']} is still {row['state']}; wait for its end, or cancel it, then resume it")
        self._check_ledger()
        options = {**DEFAULTS, **row["options"], **request.options}
        target = request.options.get("target")
        notes: list[str] = []
        view = caller.rights.scope.within(self._roster)
        meta = plan_of(row, frozenset(resolve(target, view).nodes) if target else None, notes)
        caller.rights.require_plan(meta, self._roster)
        if not any(stage["nodes"] for stage in meta["stages"]):
            raise NoTargetError(f"--target leaves job {row['id']} no node")
        request.guard.check([meta])
        record = _record(request.new_id, digests, name, row["kind"], options, meta, caller)
        record.update(resumes=row["id"], again=row["again"])
        entry = partial(caller.entry.line, job=request.new_id, resumes=row["id"])
        done = succeeded_of(row["succeeded"])
        sealed = seal(request.new_id, meta, done, request.secrets, caller, self._roster)
        caller.check()  # the caller may have taken long to send sources and secrets
        self._scheduler.accept([Accepted(meta, [], record, done, entry, sealed)])
        return notes

    def _check_ledger(self) -> None:
        self._scheduler.check_room()
        if self._ledger.stuck:
            raise StoreError(f"nothing can be accepted now: {self._ledger.stuck}")


def explain(meta: Row, chunks: list[bytes], dry_run: DryRunResult) -> Row:
    """A plan as `--plan` shows it."""
    stages = [
        {"name": s.get("name") or "", "nodes": s["nodes"], "unmatched": s.get("unmatched", [])} for s in meta["stages"]
    ]
    members: dict[int, Sequence[str]] = {}
    for block in meta["blocks"]:
        nodes = nodes_of(meta, block)
        members.update((step, nodes) for step in range(block["first"], block["last"] + 1))
    steps = [
        {
            "index": step["i"], "number": step["i"] + 1, "verb": step["verb"],
            "text": step["text"], "stage": step["stage"],
            "nodes": [dry_run.of(name, step["i"]) for name in members.get(step["i"], ())],
        }
        for step in steps_of(chunks)
    ]  # fmt: skip
    return {"stages": stages, "steps": steps, "warnings": [*meta.get("notes", []), *meta.get("warnings", [])]}


def shown_options(options: Mapping[str, Any]) -> Row:
    """Options as the audit log shows them: of ARGs their names."""
    found = {name: options[name] for name in OPTIONS_SHOWN if options.get(name)}
    return found | ({"args": sorted(options["args"])} if options.get("args") else {})


def _check_id(job: str, name: str) -> None:
    if not ids.is_job_id(job):
        raise UsageError(f"{name}: expected the id of a job")


def _record(
    job: str, digests: Mapping[str, str], name: str, kind: str, options: Mapping[str, Any], meta: Row, caller: Caller
) -> Row:
    """The fields of a new job's row in the ledger.

    Raises:
        NotPermittedError: the job fetches files, and this server cannot write as the caller.
    """
    fetches = any(spec["kind"] == "fetch" for spec in meta.get("exchange", {}).values())
    if fetches and os.geteuid() not in (0, caller.uid):
        raise NotPermittedError(
            f"FETCH writes files as {caller.user}, which a server that runs as uid {os.geteuid()} cannot; "
            "run the server as root, or submit as its user"
        )
    return {
        "id": job,
        "digest": digests[job],
        "name": name,
        "kind": kind,
        "created_at": time.time(),
        "submitted_by": caller.user,
        "options": {**options, "uid": caller.uid, "gid": caller.gid},
        "digests": meta.get("digests", {}),
    }


def _name(file: File, options: Options) -> str:
    if options["name"]:
        return options["name"][:200]
    if file["kind"] == "exec":
        lines = file["text"].strip().splitlines() or [""]
        return (lines[0] + (" …" if len(lines) > 1 else ""))[:80]
    return file["name"].rsplit("/", 1)[-1]


def _sha256(value: Any) -> str:
    return hashlib.sha256(ujson.dumps(value, sort_keys=True).encode()).hexdigest()
