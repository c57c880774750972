"""The queries of `Store` whose answers are JSON or are put together from several lookups."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from director.errors import NotFoundError, UsageError
from director.states import JOB_FINAL, JOB_QUEUED, JOB_RUNNING
from director.stores.contract import JobHead, Live
from director.stores.rows import encode
from director.stores.serializers import (
    PART,
    Info,
    counted,
    gather,
    job_object,
    known_counts,
    lists,
    outputs,
    state_of,
    succeeded,
    with_output,
)
from director.stores.sqlite_reader import Pick, Reader, SqliteView

NAMED = 5  # ids that the message for an ambiguous prefix names


class Queries(Reader):
    """The read side of `Store`, made of the lookups of `Reader`."""

    # recovery

    def open_jobs(self) -> Iterator[dict[str, Any]]:
        """See `Store.open_jobs`."""
        for job in self.ids(final=False):
            with self.view(job) as view:
                found = {**_fields(view), "nodes": _open_nodes(view)}
            yield found

    # queries

    def resolve(self, id: str) -> str:
        """See `Store.resolve`. Raises NotFoundError, UsageError, StoreError."""
        if id == "last":
            newest = self.newest()
            if newest is None:
                raise NotFoundError("no such job: last (there are no jobs)")
            return newest
        found = self.starting_with(id, NAMED + 1) if id else []
        if id in found[:1]:  # the id itself sorts before all longer ones
            return id
        if not found:
            raise NotFoundError(f"no such job: {id}")
        if len(found) > 1:
            some = ", ".join(found[:NAMED]) + (", …" if len(found) > NAMED else "")
            raise UsageError(f"{id} begins several job ids: {some}; give more of the id")
        return found[0]

    def list_jobs(self, filters: Mapping[str, Any], live: Live) -> bytes:
        """See `Store.list_jobs`."""
        pieces = (self._object(head, live) for head in self._heads(filters, live))
        return b"[" + b",".join(piece for piece in pieces if piece) + b"]"

    def job_info(self, id: str, live: Live) -> Iterator[bytes]:
        """See `Store.job_info`."""
        with self.view(id) as view:
            yield from gather(Info(view, live.get(id)).pieces())

    def outputs(self, id: str, step: int | None, nodes: Sequence[str] | None) -> Iterator[bytes]:
        """See `Store.outputs`."""
        with self.view(id) as view:
            yield from lists([piece] for piece in outputs(view, step, nodes))

    def outputs_of(self, id: str, tasks: Sequence[tuple[int, str]]) -> bytes:
        """See `Store.outputs_of`."""
        pieces: list[bytes] = []
        count = size = 0
        for step, node in tasks:
            count += 1
            found = self.result(id, step, node)
            if found is not None:
                pieces.append(with_output(node, *found))
                size += len(pieces[-1])
            if size >= PART:
                break
        return b"%d[%s]" % (count, b",".join(pieces))

    def node_tasks(self, id: str, node: str | None, live: Live) -> list[dict[str, Any]]:
        """See `Store.node_tasks`."""
        with self.view(id) as view:
            info = Info(view, live.get(id))
            return list(info.of_node(node)) if node is not None else info.not_well()

    def export_jobs(self, live: Live, within: Sequence[str] | None = None) -> Iterator[bytes]:
        """See `Store.export_jobs`."""
        return lists(self._exported(live, within))

    def final_jobs(self, filters: Mapping[str, Any]) -> list[str]:
        """See `Store.final_jobs`."""
        heads = self._heads({**filters, "limit": 0}, {})
        return [head.id for head in heads if head.state in JOB_FINAL]

    def resume_record(self, id: str) -> dict[str, Any]:
        """See `Store.resume_record`."""
        with self.view(self.resolve(id)) as view:
            return {**_fields(view), **succeeded(view), "seeded": view.seeded()}

    # parts

    def _heads(self, filters: Mapping[str, Any], live: Live) -> list[JobHead]:
        if filters.get("ids"):
            ids = dict.fromkeys(self.resolve(name) for name in filters["ids"])
            heads = sorted((self.head(job) for job in ids), key=lambda head: head.created_at)
            return [head for head in heads if self.is_within(head.id, filters.get("within"))]
        states = filters.get("state") or (JOB_QUEUED, JOB_RUNNING, *JOB_FINAL)
        unfinished = JOB_FINAL.symmetric_difference(states) - JOB_FINAL
        opened = self.open_heads() if unfinished else []
        open_ids = tuple(h.id for h in opened if state_of(h, live.get(h.id)) in unfinished)
        nodes = filters.get("nodes")
        wanted = None if nodes is None else tuple(dict.fromkeys(nodes))
        final, limit = tuple(JOB_FINAL.intersection(states)), filters.get("limit") or 0
        return self.pick(Pick(final, open_ids, filters.get("since"), wanted, limit, filters.get("within")))

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

    def _exported(self, live: Live, within: Sequence[str] | None) -> Iterator[Iterator[bytes]]:
        """The parts of each job."""
        for job in self.ids():
            if not self.is_within(job, within):
                continue
            parts = self.job_info(job, live)
            with suppress(NotFoundError):  # purged since its id was read
                yield itertools.chain([next(parts)], parts)


def _fields(view: SqliteView) -> dict[str, Any]:
    return {**view.head._asdict(), "options": view.options, "meta": view.meta}


def _open_nodes(view: SqliteView) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = [{"cursor": cursor, "results": [], "range_ends": []} for cursor in view.cursors]
    for index, step, state in view.states():
        found[index]["results"].append((step, state))
    for index, range_ends in view.range_ends.items():
        found[index]["range_ends"] = [(ended.first, ended.last, ended.state) for ended in range_ends]
    return dict(zip(view.nodes, found, strict=True))
