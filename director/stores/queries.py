"""The queries that are the same for every store, over a few things each store knows how to find."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from director.errors import NotFoundError, UsageError
from director.states import JOB_FINAL
from director.stores.contract import Live, OpenJob, OpenNode, ResumeRecord
from director.stores.rows import encode
from director.stores.serializers import (
    Info,
    JobHead,
    JobView,
    counted,
    gather,
    job_object,
    known_counts,
    lists,
    state_of,
    succeeded,
    wanted_states,
)

LARGE = 4 << 20  # bytes of a job that is exported in parts
NAMED = 5  # ids an "ambiguous" message names


class Pick(NamedTuple):
    """What a listing picks, decided: final states, ids of open jobs, since when, on which nodes, how many."""

    final: tuple[str, ...]
    open_ids: tuple[str, ...]
    since: float | None
    nodes: tuple[str, ...] | None
    limit: int


class StoredJob(JobView, ABC):
    """A job for recovery too: what `JobView` has, and the plain facts of `OpenJob`."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The fields of OpenJob but `nodes`."""

    @abstractmethod
    def seeded(self) -> list[str]:
        """Nodes with a row that went well and had effects, in the order of the job's nodes."""


class Queries(ABC):
    """The read side of `Store`; a store adds what is abstract here."""

    @abstractmethod
    def view(self, job: str) -> AbstractContextManager[StoredJob]:
        """One job, unchanging inside the `with`; NotFoundError when it is not (or no longer) there."""

    @abstractmethod
    def ids(self, final: bool | None = None) -> Iterator[str]:
        """Ids, oldest first: of all jobs, the final or the open ones."""

    @abstractmethod
    def starting_with(self, prefix: str, limit: int) -> list[str]:
        """At most `limit` ids that begin so, sorted."""

    @abstractmethod
    def newest(self) -> str | None:
        """The id of the newest job."""

    @abstractmethod
    def head(self, job: str) -> JobHead:
        """The head of the job with exactly this id; NotFoundError."""

    @abstractmethod
    def open_heads(self) -> list[JobHead]:
        """Heads of all jobs that are not final."""

    @abstractmethod
    def pick(self, pick: Pick) -> list[JobHead]:
        """Heads of the jobs picked, oldest first."""

    # recovery

    def open_jobs(self) -> Iterator[OpenJob]:
        """See `Store.open_jobs`."""
        for job in self.ids(final=False):
            with self.view(job) as view:
                found = OpenJob(**view.facts(), nodes=_open_nodes(view))
            yield found

    # queries

    def resolve(self, prefix: str) -> str:
        """See `Store.resolve`."""
        if prefix == "last":
            newest = self.newest()
            if newest is None:
                raise NotFoundError("no such job: last (there are no jobs)")
            return newest
        found = self.starting_with(prefix, NAMED + 1) if prefix else []
        if prefix in found[:1]:  # the id itself sorts before all that it begins
            return prefix
        if not found:
            raise NotFoundError(f"no such job: {prefix}")
        if len(found) > 1:
            some = ", ".join(found[:NAMED]) + (", …" if len(found) > NAMED else "")
            raise UsageError(f"{prefix} begins several job ids: {some}; give more of the id")
        return found[0]

    def list_jobs(self, filters: Mapping[str, Any], live: Live) -> bytes:
        """See `Store.list_jobs`."""
        pieces = (self._object(head, live) for head in self._heads(filters, live))
        return b"[" + b",".join(piece for piece in pieces if piece) + b"]"

    def job_info(self, job: str, live: Live) -> bytes:
        """See `Store.job_info`."""
        return b"".join(self.job_info_parts(job, live))

    def job_info_parts(self, job: str, live: Live) -> Iterator[bytes]:
        """See `Store.job_info_parts`."""
        with self.view(self.resolve(job)) as view:
            yield from gather(Info(view, live.get(view.head.id)).pieces())

    def export_jobs(self, live: Live | None = None) -> Iterator[bytes]:
        """See `Store.export_jobs`."""
        return lists(self._exported(live or {}), LARGE)

    def final_jobs(self, filters: Mapping[str, Any]) -> list[str]:
        """See `Store.final_jobs`."""
        heads = self._heads({**filters, "limit": 0}, {})
        return [head.id for head in heads if head.state in JOB_FINAL]

    def resume_record(self, job: str) -> ResumeRecord:
        """See `Store.resume_record`."""
        with self.view(self.resolve(job)) as view:
            head, facts = view.head, view.facts()
            return ResumeRecord(
                head.id,
                head.name,
                head.kind,
                head.state,
                head.step_count,
                facts["options"],
                facts["meta"],
                succeeded(view),
                view.seeded(),
            )

    # parts

    def _heads(self, filters: Mapping[str, Any], live: Live) -> list[JobHead]:
        if filters.get("ids"):
            ids = dict.fromkeys(self.resolve(name) for name in filters["ids"])
            return sorted((self.head(job) for job in ids), key=lambda head: head.created_at)
        final, unfinished = wanted_states(tuple(filters.get("state") or ()))
        opened = self.open_heads() if unfinished else []
        open_ids = tuple(h.id for h in opened if state_of(h, live.get(h.id)) in unfinished)
        nodes = filters.get("nodes")
        wanted = None if nodes is None else tuple(dict.fromkeys(nodes))
        return self.pick(Pick(final, open_ids, filters.get("since"), wanted, filters.get("limit") or 0))

    def _object(self, head: JobHead, live: Live) -> bytes:
        overlay = live.get(head.id)
        counts = known_counts(head, overlay)
        if counts is None:
            try:
                with self.view(head.id) as view:
                    counts = counted(view)
            except NotFoundError:  # purged since it was picked
                return b""
        return encode(job_object(head, overlay, counts)).encode()

    def _exported(self, live: Live) -> Iterator[bytes | Iterator[bytes]]:
        """Each job whole, or, when it is large, its parts."""
        for job in self.ids():
            parts = self.job_info_parts(job, live)
            held: list[bytes] = []
            try:
                while sum(map(len, held)) <= LARGE and (part := next(parts, None)):
                    held.append(part)
            except NotFoundError:  # purged since its id was read
                continue
            large = sum(map(len, held)) > LARGE
            yield itertools.chain(held, parts) if large else b"".join(held)


def _open_nodes(view: StoredJob) -> dict[str, OpenNode]:
    found = [OpenNode(sent=sent, rows=[], rests=[]) for sent in view.sent]
    for index, step, state in view.states():
        found[index]["rows"].append((step, state))
    for index, rests in view.rests.items():
        found[index]["rests"] = [(rest.first, rest.last, rest.state) for rest in rests]
    return dict(zip(view.nodes, found, strict=True))
