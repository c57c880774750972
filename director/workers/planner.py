"""A planner process: reads a submitted text, evaluates its targets, stores its sources as blobs, makes the plan.

Frames in: `{"nodes": [[name, online, labels, facts], …], "gone": [name], "revoked": [name]}` update its copy of the
roster. Requests (see `supervisor`): `{"plan": {…}, "req"}` begins a plan, which `{"drop": req}` gives up; `{"manual":
verb, "req"}` asks for a verb's manual. `{"source": req, …}` answers a want (with descriptors and bytes). Frames out:
`{"req", "more", "want": {…}}`, `{"req", "more", "next": spec}`, each chunk of encoded steps as the body of `{"req",
"more", "chunk": n}`, and at last `{"req", "planned": meta}`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import ujson

from director import verbs
from director.errors import DirectorError, LanguageError, UsageError
from director.language.error_list import Faults
from director.language.foreign import unknown
from director.planning.planner import Plan, plan
from director.protocol.framing import Channel
from director.targets import RosterView
from director.transfer.blobs import BlobStore
from director.transfer.packs import SMALL, Packer
from director.transfer.sparse import extents_of
from director.verbs.base import Entry, Want
from director.verbs.own import Broken, Folder
from director.workers.worker import connect, refusal, serve, serving

log = logging.getLogger(__name__)


class Mirror:
    """The planner's copy of the roster; a `RosterView`."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[bool, Mapping[str, str], str]] = {}
        self._revoked: set[str] = set()

    def update(self, header: Mapping[str, Any]) -> None:
        """Apply a change."""
        for name, online, labels, facts in header["nodes"]:
            self._nodes[name] = (online, labels, facts)
            self._revoked.discard(name)
        for name in (*header.get("gone", ()), *header.get("revoked", ())):
            self._nodes.pop(name, None)
            self._revoked.discard(name)
        self._revoked.update(header.get("revoked", ()))

    def names(self) -> Iterable[str]:
        """Every enrolled node."""
        return self._nodes.keys()

    def has(self, name: str) -> bool:
        """Whether it is enrolled."""
        return name in self._nodes

    def revoked(self, name: str) -> bool:
        """Whether its key was revoked."""
        return name in self._revoked

    def online(self, name: str) -> bool:
        """Whether it was online at the last change."""
        return self._nodes[name][0]

    def labels(self, name: str) -> Mapping[str, str]:
        """Its labels."""
        return self._nodes[name][1]

    def facts(self, name: str) -> Mapping[str, Any]:
        """Its facts; parsed at each call."""
        facts: Mapping[str, Any] = ujson.loads(self._nodes[name][2])
        return facts


class Draft:
    """An unfinished plan: its generator, its errors so far, and the entries received for its open want."""

    def __init__(self, request: Mapping[str, Any], roster: RosterView, blobs: BlobStore) -> None:
        self.faults = Faults()
        self.steps = plan(request, roster, blobs, self.faults)
        self.spec = -1
        self.place = ("exec", 1)
        self.entries: list[Entry] = []


class Planner:
    """All drafts; several may wait for their sources at a time."""

    def __init__(self, channel: Channel, blobs: BlobStore, own: Folder) -> None:
        self.channel = channel
        self.own = own
        self.blobs = blobs
        self.mirror = Mirror()
        self.drafts: dict[int, Draft] = {}

    def handle(self, header: dict[str, Any], body: bytes, fds: list[int]) -> None:
        """One frame of the parent; the caller closes the descriptors."""
        if "nodes" in header:
            self.mirror.update(header)
        elif "manual" in header:
            verbs.adopt(self.own.verbs())
            self._show_manual(header["req"], header["manual"])
        elif "plan" in header:
            verbs.adopt(self.own.verbs())
            draft = self.drafts[header["req"]] = Draft(header["plan"], self.mirror, self.blobs)
            self._advance(header["req"], draft, None)
        elif "source" in header:
            self._take_source(header, memoryview(body), fds)
        elif "drop" in header:
            self.drafts.pop(header["drop"], None)

    def _show_manual(self, req: int, name: str) -> None:
        try:
            verb = verbs.load(name)
        except KeyError:
            return self._fail(req, UsageError(unknown(name, verbs.every())))
        if isinstance(verb, Broken):
            return self._fail(req, UsageError(verb.fault))
        self.channel.send({"req": req, "planned": {"manual": verbs.manual(name)}})

    def _take_source(self, header: dict[str, Any], body: memoryview, fds: list[int]) -> None:
        req = header["source"]
        draft = self.drafts.get(req)
        if draft is None or header["spec"] != draft.spec:
            return
        if "error" in header:
            file, line = draft.place
            self._advance(req, draft, LanguageError(str(header["error"]), file, line))
            return
        try:
            draft.entries += self._digest(header["entries"], body, fds, keep=not draft.faults)
        except (OSError, ValueError, DirectorError) as error:
            text = getattr(error, "strerror", None) or str(error)
            self._advance(req, draft, DirectorError(f"a source cannot be kept: {text}"))
            return
        if header["last"]:
            entries, draft.entries = draft.entries, []
            self._advance(req, draft, entries)
        else:
            self.channel.send({"req": req, "more": True, "next": draft.spec})

    def _digest(self, rows: list[dict[str, Any]], body: memoryview, fds: list[int], keep: bool) -> list[Entry]:
        """The entries of these rows; without `keep` no file is read, as there will be no plan.

        Raises ValueError: the rows do not fit the bytes that came with them.
        """
        packer, left, at = Packer(self.blobs), iter(fds), 0
        for row in rows:
            if row.get("packed"):
                size, at = row["size"], at + row["size"]
                if not 0 < size <= SMALL or at > len(body):
                    raise ValueError("files without their bytes came from the caller")
                packer.add(body[at - size : at])
        places = iter(packer.close() if keep else ())
        entries = []
        for row in rows:
            digest, size, pack, offset, extents = "", row["size"], None, 0, None
            if keep and row.get("packed"):
                digest, pack, offset = next(places)
            elif keep and row["kind"] == "file":
                fd = next(left)
                extents = extents_of(fd)
                digest, size = self.blobs.put_fd(fd, extents)
                size = size if extents is None else os.fstat(fd).st_size
            link, name = row.get("target") or "", row.get("name") or ""
            entries.append(
                Entry(row["path"], row["kind"], row["mode"], size, digest, link, name, pack, offset, extents)
            )
        return entries

    def _advance(self, req: int, draft: Draft, value: Any) -> None:
        """Give the generator the value it waits for; send its next want, or the end of the plan."""
        try:
            asked = draft.steps.throw(value) if isinstance(value, Exception) else draft.steps.send(value)
        except StopIteration as end:
            self._finish(req, end.value)
        except DirectorError as error:
            self._fail(req, error)
        except RecursionError:
            self._fail(req, UsageError("the text is nested too deeply"))
        except Exception as error:
            log.exception("a plan failed")
            self._fail(req, DirectorError(f"the plan failed: {type(error).__name__}: {error}"))
        else:
            self._ask(req, draft, *asked)

    def _ask(self, req: int, draft: Draft, spec: int, want: Want, file: str, line: int) -> None:
        draft.spec, draft.place = spec, (file, line)
        fields: dict[str, Any] = {"base": want.base, "pattern": want.pattern, "exclude": list(want.exclude)}
        fields.update(hidden=want.hidden, parents=want.parents, spec=spec, file=file, line=line)
        self.channel.send({"req": req, "more": True, "want": fields})

    def _finish(self, req: int, plan: Plan) -> None:
        self.drafts.pop(req, None)
        for number, chunk in enumerate(plan.chunks()):
            self.channel.send({"req": req, "more": True, "chunk": number}, chunk)
        self.channel.send({"req": req, "planned": plan.meta()})

    def _fail(self, req: int, error: DirectorError) -> None:
        self.drafts.pop(req, None)
        self.channel.send(refusal(req, error))


def main() -> None:
    """Serve the parent until it closes the channel."""
    channel, settings = connect()
    with serving(channel):
        own = Folder(settings["verbs"], {**verbs.VERBS, **verbs.ALIASES})
        planner = Planner(channel, BlobStore(settings["blobs"]), own)
        serve(channel, lambda header, body, fds: planner.handle(header, body, fds))


if __name__ == "__main__":
    main()
