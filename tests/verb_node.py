"""A small node for verbs: real rendering, real processes, contents in a folder; and the planning side of one step."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from director import verbs
from director.errors import LanguageError, UsageError, VerbError
from director.language.scope import Scope
from director.language.substitution import render_shell, render_text, render_word
from director.language.types import Names
from director.planning.planner import Plan, plan
from director.runtime import memory_folders
from director.states import FAILED, SUCCESS, TIMEOUT
from director.transfer import sources
from director.transfer.blobs import BlobStore
from director.transfer.sparse import extents_of
from director.verbs.base import Entry, Fetched, Outcome


class FakeNode:
    """Does on this machine what a verb asks for; answers of programs in `answers` come from there."""

    name = "web-01"
    job = "a000000000000001"
    unfinished = None

    def __init__(self, folder: Path, blobs: BlobStore | None = None) -> None:
        self.scope = Scope(workdir=str(folder))
        self.facts: Mapping[str, Any] = {"arch": "x86_64", "os": {"id": "debian"}, "cpu": {"count": 2}}
        self.labels: Mapping[str, str] = {"tier": "web"}
        self.blobs = blobs
        self.ran: list[dict[str, Any]] = []
        self.answers: dict[str, Outcome] = {}
        self.slept: list[float] = []
        self.fetched: list[str] = []
        self.lent: list[dict[str, Any]] = []
        self.secrets: dict[str, bytes] = {}
        self.seconds = 5.0
        self.breaths = 0

    def text(self, raw: str) -> str:
        return render_text(raw, self._names())

    def shell(self, raw: str) -> str:
        return render_shell(raw, self._names())

    def word(self, raw: str, escape: str = "\\") -> str:
        return render_word(raw, self._names(), self.scope.dollars().get, escape)

    def document(self, raw: str) -> str:
        return render_word(raw, self._names(), self.scope.dollars().get, quotes=False)

    def blueprint(self, source: str) -> str:
        return render_text(source, self._names())

    def _names(self) -> Names:
        scope = self.scope
        return Names(scope.texts(), self.facts, {"id": self.name, "labels": self.labels}, scope.query, scope.quoted)

    def run(self, argv: list[str], **options: Any) -> Outcome:
        self.ran.append({"argv": argv, **options})
        line = " ".join(argv)
        for start, outcome in self.answers.items():
            if line.startswith(start):
                return outcome
        return self._really(argv, options)

    def _really(self, argv: list[str], options: Mapping[str, Any]) -> Outcome:
        limit = options.get("timeout") or self.seconds
        env = {**os.environ, **self.scope.dollars(), **(options.get("env") or {})}
        try:
            done = subprocess.run(
                argv,
                cwd=self.scope.workdir,
                env=env,
                timeout=limit,
                input=options.get("stdin", b""),
                capture_output=True,
            )
        except subprocess.TimeoutExpired:
            return Outcome(TIMEOUT, reason=f"not done within {limit:g} s")
        except FileNotFoundError:
            return Outcome(FAILED, 127, reason=f"{argv[0]}: no such program")
        state, reason = (SUCCESS, "") if done.returncode == 0 else (FAILED, f"exit code {done.returncode}")
        return Outcome(state, done.returncode, done.stdout, done.stderr, reason)

    def blob(self, digest: str, size: int) -> str:
        assert self.blobs is not None
        self.fetched.append(digest)
        return self.blobs.path(digest)

    def receive(self, contents: Any, take: Any) -> None:
        for content in contents:
            with open(self.blob(*content.blob), "rb") as file:
                file.seek(content.offset)
                take(content, memoryview(file.read(content.size)), True)

    def identity(self, user: str) -> tuple[int, int]:
        name, _, group = user.partition(":")
        if not name.isdecimal():
            raise VerbError(f"there is no user {name} on this node")
        return int(name), int(group or name)

    def secret(self, name: str) -> bytes:
        return self.secrets[name]

    def hide(self, text: str) -> str:
        for value in self.secrets.values():
            text = text.replace(value.decode(errors="replace").strip(), "***")
        return text

    def memory_file(self, data: bytes, mode: int, uid: int, gid: int) -> Any:
        return memory_folders.file("test", data, mode, uid, gid)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds -= seconds

    def breathe(self) -> None:
        self.breaths += 1

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        yield

    def remaining(self) -> float:
        return self.seconds

    def query(self, name: str) -> dict[str, dict[str, Any]]:
        return {self.name: {name: f"{name} of {self.name}"}}

    def reboot(self, delay: float) -> Outcome:
        return Outcome(SUCCESS, reason=f"after {delay:g}")

    def pattern(self, raw: str, escape: str = "\\") -> str:
        return self.word(raw, escape)

    def offer(self, patterns: list[str]) -> Fetched:
        return Fetched([f"{self.name}{path}" for path in patterns], ["a link"], changed=not self.fetched)

    def borrow(self, number: int) -> dict[str, Any]:
        return self.lent[number]


class Fleet:
    """A roster of nodes by name: online or not; `web-…` are labelled."""

    def __init__(self, **nodes: bool) -> None:
        self._nodes = {name.replace("_", "-"): online for name, online in nodes.items()}

    def names(self) -> list[str]:
        return list(self._nodes)

    def has(self, name: str) -> bool:
        return name in self._nodes

    def revoked(self, name: str) -> bool:
        return False

    def online(self, name: str) -> bool:
        return self._nodes[name]

    def labels(self, name: str) -> dict[str, str]:
        return {"tier": name.partition("-")[0]}

    def facts(self, name: str) -> dict[str, Any]:
        return {"arch": "aarch64" if name.startswith("arm") else "x86_64", "os": {"id": "debian"}, "hostname": name}


def drive(
    text: str,
    folder: Path,
    blobs: BlobStore,
    fleet: Fleet | None = None,
    form: str = "auto",
    secrets: Sequence[str] = (),
    **options: Any,
) -> Plan:
    """Plan a text as the worker does, with real sources below `folder`."""
    file = {"name": "exec", "form": form, "text": text, "folder": str(folder)}
    steps = plan({"file": file, "options": options, "secrets": secrets}, fleet or Fleet(web_01=True), blobs)
    try:
        asked = next(steps)
        while True:
            _, want, name, line = asked
            fields = {name: getattr(want, name) for name in ("base", "pattern", "exclude", "hidden", "parents")}
            try:
                answer = [_entry(found, blobs) for found in sources.expand(fields)]
            except UsageError as error:
                asked = steps.throw(LanguageError(str(error), name, line))
            else:
                asked = steps.send(answer)
    except StopIteration as end:
        made: Plan = end.value
        return made


def _entry(found: sources.Found, blobs: BlobStore) -> Entry:
    digest, size, extents = "", 0, None
    if found.kind == "file":
        fd = found.open()
        extents = extents_of(fd)
        digest, size = blobs.put_fd(fd, extents)
        size = size if extents is None else found.size
        os.close(fd)
    return Entry(found.path, found.kind, found.mode, size, digest, found.target, found.name, extents=extents)


def step_of(text: str, folder: Path, blobs: BlobStore, **options: Any) -> dict[str, Any]:
    """The row of a text's last step."""
    return drive(text, folder, blobs, **options).steps[-1].row


def apply(text: str, node: FakeNode, folder: Path, **options: Any) -> Outcome:
    """Plan a text and apply its steps to `node`; the last one's outcome, with effects taken over."""
    assert node.blobs is not None
    outcome = Outcome()
    for step in drive(text, folder, node.blobs, **options).steps:
        verb = verbs.load(step.row["verb"])
        outcome = verb.apply(step.row["body"], step.row["flags"], node)
        node.scope.apply(outcome.effects)
    return outcome


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
