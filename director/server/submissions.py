"""A submission: checked, planned in a worker with the caller's own eyes on the files, accepted whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import ujson

from director import ids
from director import states as st
from director.api.peer_credentials import with_rights
from director.errors import DirectorError, NoTargetError, StoreError, UsageError
from director.protocol.framing import Channel
from director.server.dry_run import DryRun, DryRunResult, steps_of
from director.server.ledger_client import LedgerClient
from director.server.planner_pool import PlannerPool
from director.server.resume import Resumed, plan_of, succeeded_of
from director.server.roster import Roster
from director.server.scheduler import Accepted, Scheduler
from director.targets import settle

FILES_LIMIT = 1000
TEXT_LIMIT = 4 * 1024 * 1024
PATIENCE = 60.0  # seconds the submitter may take to answer a want


class Submissions:
    """FairQueue `submit` and `resume` requests into accepted jobs."""

    def __init__(self, desk: Scheduler, planners: PlannerPool, ledger: LedgerClient, roster: Roster) -> None:
        self._desk, self._planners, self._ledger, self._roster = desk, planners, ledger, roster
        self._under_way: set[str] = set()
        self.foresight = DryRun(roster, lambda *message: desk.send(*message))

    def submit(self, header: dict[str, Any], channel: Channel, user: str) -> dict[str, Any]:
        """Plan every file, then accept all of them; the answer's fields.

        Raises DirectorError: what is wrong with the request, a file, a target, a source, or the server's room.
        """
        files, options = _files(header), _options(header)
        names = [file["id"] for file in files]
        while self._under_way.intersection(names):  # the same submission, asked again while it is being planned
            gevent.sleep(0.05)
        self._under_way.update(names)
        try:
            known = self._known(files, options)
            if known is not None:
                return {"ok": True, "jobs": known, "notes": []}
            self._check_again(header, names)
            return self._accept(files, options, channel, user)
        finally:
            self._under_way.difference_update(names)

    def resume(self, header: dict[str, Any], user: str) -> dict[str, Any]:
        """A new job that runs what did not succeed in another one; the answer's fields.

        Raises NotFoundError, UsageError (it is not final), NoTargetError (`--target` leaves it no node).
        """
        job = header.get("new_id")
        if not isinstance(job, str) or not ids.is_job_id(job):
            raise UsageError("new_id is not the id of a job")
        digest = _sha256(["resume", str(header["id"]), header.get("options")])
        while job in self._under_way:
            gevent.sleep(0.05)
        self._under_way.add(job)
        try:
            known = ujson.loads(self._ledger.ask("find", id=job))
            if known and known["digest"] != digest:
                raise UsageError("another job has this id; submit again with a new one")
            if not known:
                self._check_again(header, [job])
            row = ujson.loads(self._ledger.ask("resume_record", id=job if known else str(header["id"])))
            notes = [] if known else self._resume(row, job, header, digest, user)
            name = (header.get("options") or {}).get("name") or row["name"]
            return {"ok": True, "jobs": [{"id": job, "name": name}], "notes": notes}
        finally:
            self._under_way.discard(job)

    def _resume(self, row: dict[str, Any], job: str, header: dict[str, Any], digest: str, user: str) -> list[str]:
        if row["state"] not in st.JOB_FINAL:
            raise UsageError(f"job {row['id']} is still {row['state']}; wait for its end, or cancel it, then resume it")
        self._check_ledger()
        given = header.get("options") or {}
        options = _options({"options": {**row["options"], **given}})
        allowed = frozenset(settle(given["target"], self._roster).nodes) if given.get("target") else None
        notes: list[str] = []
        meta = plan_of(row, allowed, notes)
        if not any(stage["nodes"] for stage in meta["stages"]):
            raise NoTargetError(f"--target leaves job {row['id']} no node")
        record = {
            "id": job,
            "name": str(given.get("name") or row["name"])[:200],
            "kind": row["kind"],
            "created_at": time.time(),
            "submitted_by": user,
            "digest": digest,
            "options": with_rights(options, meta, user),
            "digests": meta.get("digests", {}),
        }
        resumed = Resumed(row["id"], succeeded_of(row["succeeded"]))
        self._desk.accept([Accepted(meta, [], record, options["valid_for"], resumed)])
        return notes

    def _check_again(self, header: dict[str, Any], names: list[str]) -> None:
        """What was asked before this server started may have been accepted, and forgotten by a damaged ledger."""
        if header.get("again") and self._ledger.lost:
            raise StoreError(f"{self._ledger.lost}; whether {' '.join(names)} was accepted and ran is not known")

    def _check_ledger(self) -> None:
        self._desk.check_room()
        if self._ledger.stuck:
            raise StoreError(f"nothing can be accepted now: {self._ledger.stuck}")

    def plan(self, header: dict[str, Any], channel: Channel) -> dict[str, Any]:
        """The plan of a submission as the contract's object; nothing is accepted."""
        files, options = _files(header), _options(header)
        answers = []
        for file in files:
            request = {"file": file, "options": options, "explain": True}
            meta, chunks = self._planners.plan(request, _relay(channel))
            stages = [stage.get("name") or "" for stage in meta["stages"]]
            head = {"name": _name(file, options), "kind": file["kind"], "options": options, "stages": stages}
            answers.append(explain(meta, chunks, self.foresight.look(meta, chunks, head)))
        return answers[0] if len(answers) == 1 else {"plans": answers}

    def _known(self, files: list[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, str]] | None:
        """The jobs, when this very submission was accepted before."""
        found = [ujson.loads(self._ledger.ask("find", id=file["id"])) for file in files]
        if not any(found):
            return None
        if all(row and row["digest"] == _digest(file, options) for row, file in zip(found, files, strict=True)):
            return [{"id": file["id"], "name": _name(file, options)} for file in files]
        raise UsageError("another job has this id; submit again with a new one")

    def _accept(
        self, files: list[dict[str, Any]], options: dict[str, Any], channel: Channel, user: str
    ) -> dict[str, Any]:
        self._check_ledger()
        jobs, notes = [], []
        relay = _relay(channel)
        for file in files:
            meta, chunks = self._planners.plan({"file": file, "options": options}, relay)
            notes += meta.pop("notes", [])
            jobs.append(self._job(file, options, meta, chunks, user))
        if not options["async"]:
            for before, after in itertools.pairwise(jobs):
                before.meta["before"], after.meta["after"] = after.record["id"], before.record["id"]
        self._desk.accept(jobs)
        return {
            "ok": True,
            "jobs": [{"id": j.record["id"], "name": j.record["name"]} for j in jobs],
            "notes": notes,
        }

    def _job(
        self,
        file: dict[str, Any],
        options: dict[str, Any],
        meta: dict[str, Any],
        chunks: list[bytes],
        user: str,
    ) -> Accepted:
        record = {
            "id": file["id"],
            "name": _name(file, options),
            "kind": file["kind"],
            "created_at": time.time(),
            "submitted_by": user,
            "digest": _digest(file, options),
            "options": with_rights({**options, "file": file["name"], "folder": file["folder"]}, meta, user),
            "digests": meta.get("digests", {}),
        }
        return Accepted(meta, chunks, record, options["valid_for"])


def explain(meta: dict[str, Any], chunks: list[bytes], outlook: DryRunResult) -> dict[str, Any]:
    """A plan as `--plan` shows it."""
    stages = [
        {"name": s.get("name") or "", "nodes": s["nodes"], "unmatched": s.get("unmatched", [])} for s in meta["stages"]
    ]
    members: dict[int, list[str]] = {}
    for block in meta["blocks"]:
        nodes = meta["stages"][block["stage"]]["nodes"] if block.get("nodes") is None else block["nodes"]
        members.update((step, nodes) for step in range(block["first"], block["last"] + 1))
    steps = []
    for step in steps_of(chunks):
        number = step["i"]
        nodes = [outlook.of(name, number) for name in members.get(number, ())]
        steps.append(
            {"index": number, "verb": step["verb"], "text": step["text"], "stage": step["stage"], "nodes": nodes}
        )
    return {"stages": stages, "steps": steps, "warnings": [*meta.get("notes", []), *meta.get("warnings", [])]}


def _relay(channel: Channel) -> Callable[[dict[str, Any]], Iterator[tuple[dict[str, Any], list[int]]]]:
    def relay(want: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[int]]]:
        channel.send({"want": want})
        while True:
            with gevent.Timeout(PATIENCE, UsageError("the sources did not come within a minute; nothing was accepted")):
                frame = channel.receive()
            if frame is None:
                raise DirectorError("the submitter left")
            header, _, fds = frame
            yield header, fds
            if header.get("last") or "error" in header:
                return
            channel.send({"next": {"req": want["req"], "spec": want["spec"]}})

    return relay


def _files(header: dict[str, Any]) -> list[dict[str, Any]]:
    files = header.get("files")
    if not isinstance(files, list) or not 0 < len(files) <= FILES_LIMIT:
        raise UsageError(f"a submission has 1 to {FILES_LIMIT} files")
    for file in files:
        well = isinstance(file, dict) and all(
            isinstance(file.get(k), str) for k in ("id", "kind", "name", "form", "text", "folder")
        )
        if not well or file["kind"] not in ("exec", "orchestrate") or not ids.is_job_id(file["id"]):
            raise UsageError("a file of a submission has id, kind, name, form, text and folder")
        if len(file["text"]) > TEXT_LIMIT:
            raise UsageError(f"{file['name']}: larger than {TEXT_LIMIT >> 20} MiB")
    if len({file["id"] for file in files}) != len(files):
        raise UsageError("two files of a submission have one id")
    return files


DEFAULTS: dict[str, Any] = {
    "target": [], "timeout": 600.0, "valid_for": 3600.0, "no_cache": False, "args": {}, "extend_args": False,
    "async": False, "name": None,
}  # fmt: skip


def _options(header: dict[str, Any]) -> dict[str, Any]:
    options = {**DEFAULTS, **(header.get("options") or {})}
    if not isinstance(options["args"], dict) or not isinstance(options["target"], list):
        raise UsageError("options.args is an object, options.target a list")
    options["timeout"], options["valid_for"] = float(options["timeout"]), float(options["valid_for"])
    return options


def _name(file: dict[str, Any], options: dict[str, Any]) -> str:
    if options["name"]:
        return str(options["name"])[:200]
    if file["kind"] == "exec":
        lines = file["text"].strip().splitlines() or [""]
        return (lines[0] + (" …" if len(lines) > 1 else ""))[:80]
    return str(file["name"].rsplit("/", 1)[-1])


def _digest(file: dict[str, Any], options: dict[str, Any]) -> str:
    return _sha256([file, options])


def _sha256(value: Any) -> str:
    return hashlib.sha256(ujson.dumps(value, sort_keys=True).encode()).hexdigest()
