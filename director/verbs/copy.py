"""COPY: puts files and folders of the operator's machine, and heredocs, on the node."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from director.errors import VerbError
from director.language.heredocs import closed_up, openings
from director.language.instructions import Instruction
from director.language.substitution import secrets_in
from director.states import CACHED, SUCCESS
from director.transfer.manifests import BYTES_LIMIT, Row, check
from director.transfer.pieces import Content
from director.verbs.arguments import Words, document, escape_of, rendered
from director.verbs.base import Answers, Entry, Flag, Node, Outcome, Planning, Verb, Want
from director.verbs.contents import Bytes, Holding, Remote
from director.verbs.folders import absolute, is_folder_text
from director.verbs.install import OUTPUT_LIMIT, Installer
from director.verbs.install_diff import InstallDiff
from director.verbs.ownership import wish_of
from director.verbs.source_lists import contents_of, rows_for, rows_of, set_of

BLUEPRINT_LIMIT = 1 << 20  # bytes of a file that is rendered
HEREDOC_MODE = 0o644
SEVERAL = "several sources need a destination that ends in /"


class Copy(Verb):
    """COPY SOURCE… DESTINATION: put files of the operator's machine on the node.

    A source is a file, a glob or a folder; of a folder the contents are copied. A relative source is below the folder
    of the orchestration file (with `--exec` below the working folder). Sources are read with the caller's own rights
    when the job is submitted. Several sources need a destination that ends in `/`. Missing folders are made; a relative
    destination is below WORKDIR. Content, owner and mode are compared first; only what differs is changed, and the step
    is `cached` when nothing does. A file is replaced as a whole or not at all; the step fails where a device, a FIFO or
    a socket would be replaced. A link on the way to a destination is followed only if it and the folder that it lies in
    belong to root or to the client's user. Standard output has one destination a line; standard error says what was
    changed, unless all of it is new.

    With `--from` the sources are on another node. They are read once for all nodes, when that node has passed the steps
    before this one; relative sources are below its `/`. While that node is offline the step waits, at most for its
    `--timeout`. Links are not taken from another node: leave them out with `--exclude`, or copy an archive. Nothing is
    written through a link below the destination, and setuid bits come from `--chmod` only.

        COPY --chmod=0644 files/app.conf /etc/app/
        COPY --chown=www-data --exclude=**/*.bak site/ /srv/site/
        COPY --blueprint motd.in /etc/motd
        COPY --from=db-01 /etc/app/ca.pem /etc/app/
        COPY <<app.env /etc/app/
        NAME=$NAME
        app.env

    In a file with `--blueprint` and in a heredoc `{{ secret('NAME') }}` is a secret of `--secret`. `--plan` shows
    nothing of such a file.

    Files keep the modes of the sources; a heredoc has 0644. An octal `--chmod` lets those who may read a folder enter
    it too. The owner is the client's user. In folders `.directorignore`, else `.containerignore`, else `.dockerignore`
    says what to leave out.
    """

    name = "COPY"
    argument = Words("COPY needs a source and a destination; expected COPY SOURCE… DESTINATION", least=2)
    json_form = True
    heredocs = True
    diffs = True
    needs = "sources and a destination"
    compares = True
    owned = frozenset(("exclude", "parents", "link", "from", "checksum", "unpack"))
    flags: ClassVar[tuple[Flag, ...]] = (
        Flag("chown", "str", "owner", metavar="USER[:GROUP]"),
        Flag("chmod", "str", "mode, octal or symbolic", metavar="MODE"),
        Flag("blueprint", "bool", "render the files as templates on the node", default=False),
        Flag("exclude", "str", "leave out what matches, relative to each source", repeatable=True, metavar="PATTERN"),
        Flag("parents", "bool", "keep the sources' folders; of a path with /./ only those behind it", default=False),
        Flag("link", "bool", "no effect: there are no layers", default=False),
        Flag("from", "str", "the node that has the sources, or a stage of one node", metavar="NODE"),
    )

    # -- planning -----------------------------------------------------------------------------------------

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`dest` raw, `asks` raw sources, `texts` [[name, raw, render]] of heredocs, `count` of both."""
        heredocs = instruction.heredocs
        if heredocs:
            instruction = replace(instruction, text=closed_up(instruction.text))
        body = super().parse(instruction, planning)
        *asks, body["dest"] = body.pop("words")
        if heredocs:
            asks = _without_heredocs(asks, len(heredocs))
        texts: list[Any] = [[h.name, document(h.content) if h.expand else h.content, h.expand] for h in heredocs]
        body.update(asks=asks, texts=texts, count=len(asks) + len(texts), hidden=instruction.form != "yaml")
        wish_of(planning.flags, planning.fail)
        self._take_flags(body, planning)
        if body["count"] > 1 and not _may_be_folder(body["dest"]):
            raise planning.fail(f"{SEVERAL}; expected {body['dest']}/")
        for name, _, _ in texts if is_folder_text(body["dest"]) else ():
            if "/" in name or name in (".", ".."):
                raise planning.fail(f"the here-document's name cannot be a file's: {name!r}; expected one without /")
        return body

    def _take_flags(self, body: dict[str, Any], planning: Planning) -> None:
        flags = planning.flags
        body["exclude"], body["parents"] = list(flags.get("exclude") or ()), bool(flags.get("parents"))
        if flags.get("link"):
            planning.note("--link has no effect: there are no layers")
        if "from" in flags:
            if body["texts"]:
                raise planning.fail("COPY --from takes files of a node; expected no heredoc")
            nodes = planning.target(flags["from"])
            if len(nodes) != 1:
                expected = "expected one node, or a stage of one node"
                raise planning.fail(f"--from={flags['from']} means {len(nodes)} nodes; {expected}")
            body["from"] = nodes[0]

    def wants(self, body: Mapping[str, Any], planning: Planning) -> Iterable[Want]:
        """One for each source; none with --from."""
        patterns = [pattern for pattern in self._patterns(body, planning) if not is_address(pattern)]
        how = tuple(body["exclude"]), body["hidden"], body["parents"]
        return [] if "from" in body else [Want(planning.folder, pattern, *how) for pattern in patterns]

    def _patterns(self, body: Mapping[str, Any], planning: Planning) -> list[str]:
        """The sources, rendered. Raises LanguageError."""
        patterns = [planning.word(raw, escape_of(body)) for raw in body["asks"]]
        for pattern in patterns:
            self._check_source(pattern, body, planning)
        return patterns

    def _check_source(self, pattern: str, body: Mapping[str, Any], planning: Planning) -> None:
        if not pattern:
            raise planning.fail("a source came out empty; expected a path")
        if is_address(pattern):
            raise planning.fail(f"COPY takes no URLs: {pattern}; expected ADD {pattern}")

    def sources(self, body: Mapping[str, Any], answers: Answers, planning: Planning) -> dict[str, Any]:
        """`sources`, or `manifest` when there are many; with --from the `patterns`."""
        if "from" in body:
            return {"patterns": self._patterns(body, planning)}
        for _, raw, render in body["texts"]:
            if not render and planning.flags.get("blueprint"):
                _note_secrets_in(raw, planning)
        rows: list[Row] = []
        pack = None
        for entry in (entry for answer in answers for entry in answer):
            if entry.pack and entry.pack != pack:
                pack = entry.pack
                rows.append(["pack", "", 0, pack[1], pack[0], "", ""])
            rows.append(self._row(entry, body, planning))
        rows += self._more_rows(body, planning)
        if _singles(rows) + len(body["texts"]) > 1 and not _may_be_folder(body["dest"]):
            raise planning.fail(f"{SEVERAL}; expected {body['dest']}/")
        return rows_for(rows, planning)

    def _row(self, entry: Entry, body: Mapping[str, Any], planning: Planning) -> Row:
        planning.need(entry)
        if planning.flags.get("blueprint") and entry.kind == "file":
            _note_secrets(entry, planning)
        more = (
            [entry.offset] if entry.pack else [] if entry.extents is None else [[list(part) for part in entry.extents]]
        )
        return [entry.kind, entry.path, entry.mode, entry.size, entry.digest, entry.target, entry.name, *more]

    def _more_rows(self, body: Mapping[str, Any], planning: Planning) -> list[Row]:
        return []

    def raws(self, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """The destination and the heredocs."""
        yield "word", body["dest"]
        yield from (("document", raw) for _, raw, render in body.get("texts", ()) if render)

    def strip(self, body: dict[str, Any]) -> None:
        """Take out of the body what only the planner needs."""
        for name in ("asks", *(() if "from" in body else ("hidden", "exclude", "parents"))):
            body.pop(name, None)
        if not body["texts"]:
            del body["texts"]

    def exchange(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """With --from: the source node, and `sets` of patterns, of which each node takes one."""
        if "from" not in body:
            return None
        asked = {name: body.pop(name) for name in ("exclude", "hidden", "parents")}
        if "per_node" in body:
            sets = [one["patterns"] for one in body["per_node"].pop("sets")]
        else:
            sets = [body.pop("patterns")]
        return {"kind": "copy", "from": body["from"], "sets": sets, **asked}

    def barrier(self, body: Mapping[str, Any]) -> bool:
        """With --from: the source node must have passed the steps before."""
        return "from" in body

    # -- on the node --------------------------------------------------------------------------------------

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Compare, and change what differs."""
        return self._install(body, flags, node, Installer)

    def foresee(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Compare; standard error is a diff of what `apply` would change."""
        return self._install(body, flags, node, InstallDiff)

    def _install(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node, kind: type[Installer]) -> Outcome:
        text = rendered(body, "dest", node, "the destination came out empty; expected a path")
        dest = absolute(text, node)
        rows = _rows(body, node)
        _check_dest(dest, text, body, rows)
        into, blueprint = dest.endswith("/") or os.path.isdir(dest), bool(flags.get("blueprint"))
        with kind(wish_of(flags, VerbError).on(node), node.breathe, node.receive, node.unfinished) as installer:
            if "from" in body:
                installer.walk.pass_no_link(dest)
            for row, content in contents_of(rows):
                self._place(row, content, dest, into, installer, blueprint, node)
            for name, raw, render in body.get("texts", ()):
                data = _document(raw, render, blueprint, node)
                installer.file(_beside(dest, name, into), Bytes(data), HEREDOC_MODE)
            installer.finish()
        return _outcome(installer)

    def _place(
        self, row: Row, content: Content, dest: str, into: bool, installer: Installer, blueprint: bool, node: Node
    ) -> None:  # fmt: skip
        kind, path, mode, _size, _digest, target, name = row[:7]
        place = os.path.join(dest, path) if path else _beside(dest, name, into)
        if kind == "file":
            installer.file(place, _rendered(content, blueprint, node), mode)
        elif kind == "link":
            installer.link(place, target)
        elif path or not os.path.isdir(dest):
            installer.folder(place if path else dest, mode)


def is_address(text: str) -> bool:
    """Whether a source is a URL."""
    return text.lower().startswith(("http://", "https://"))


def _rendered(content: Content, blueprint: bool, node: Node) -> Holding:
    """The content of a file, rendered on this node with --blueprint. Raises VerbError for what cannot be rendered."""
    remote = Remote(content, node.blob, node.breathe)
    if not blueprint:
        return remote
    if content.length > BLUEPRINT_LIMIT:
        what = f"this one has {content.length} bytes"
        raise VerbError(f"--blueprint renders files of at most {BLUEPRINT_LIMIT >> 20} MiB; {what}")
    try:
        return Bytes(node.blueprint(remote.read().decode()).encode())
    except UnicodeDecodeError:
        raise VerbError("--blueprint renders UTF-8 text only") from None


def _document(raw: str, render: bool, blueprint: bool, node: Node) -> bytes:
    if render:
        raw = node.document(raw)
    elif blueprint:
        raw = node.blueprint(raw)
    return raw.encode("utf-8", "surrogateescape")


def _note_secrets(entry: Entry, planning: Planning) -> None:
    """Note the secrets that a file with --blueprint uses; what cannot be rendered fails on the node."""
    if entry.digest and entry.size <= BLUEPRINT_LIMIT:
        with open(planning.content_path(entry.pack[0] if entry.pack else entry.digest), "rb") as file:
            file.seek(entry.offset)
            _note_secrets_in(file.read(entry.size).decode("utf-8", "replace"), planning)


def _note_secrets_in(text: str, planning: Planning) -> None:
    try:
        names = secrets_in(text)
    except ValueError as error:
        raise planning.fail(f"the file with --blueprint: {error}") from None
    for name in sorted(names):
        planning.secret(name)


def _without_heredocs(asks: list[str], count: int) -> list[str]:
    """The sources without the `<<NAME` words."""
    found = [word for word in asks if not openings(word)]
    return found if len(asks) - len(found) == count else asks[: len(asks) - count]


def _may_be_folder(raw: str) -> bool:
    """Whether a raw destination ends in `/`, or may do so when it is rendered."""
    return is_folder_text(raw.rstrip("\"'")) or raw.rstrip("\"'").endswith("}") or "$" in raw.rpartition("/")[2]


def _check_dest(dest: str, text: str, body: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Check what depends on the rendered destination. Raises VerbError."""
    singles = _singles(rows) + len(body.get("texts", ()))
    if (body.get("count", 1) > 1 or singles > 1) and not dest.endswith("/"):
        raise VerbError(f"{SEVERAL}, not {text}")
    as_folder = dest.endswith("/") or any(row[0] == "dir" or row[1] for row in rows)
    if as_folder and os.path.lexists(dest.rstrip("/") or "/") and not os.path.isdir(dest):
        raise VerbError(f"{dest.rstrip('/')}: not a folder")


def _rows(body: Mapping[str, Any], node: Node) -> list[Row]:
    """The rows of this node, checked by the rules for those who made them. Raises VerbError."""
    if "from" not in body:
        return check(rows_of(body, node), own=True)
    rows = check(rows_of(node.borrow(set_of(body, node)), node, BYTES_LIMIT))
    for row in rows:
        if row[0] == "link":
            raise VerbError(
                f"{row[1] or row[6]!a:.200} is a link, and links are not taken from another node; "
                "leave it out with --exclude, or copy an archive"
            )
    return rows


def _singles(rows: Sequence[Row]) -> int:
    """How many files and links are put at the destination under their own name."""
    return sum(row[0] not in ("dir", "pack") and not row[1] for row in rows)


def _beside(dest: str, name: str, into: bool) -> str:
    return os.path.join(dest, name) if into else dest


def _outcome(installer: Installer) -> Outcome:
    text = "\n".join(installer.placed).encode("utf-8", "surrogateescape")
    state, reason = (SUCCESS, "") if installer.changed else (CACHED, "already so")
    shown = text[:OUTPUT_LIMIT]
    return Outcome(state, stdout=shown, stderr=installer.said(), reason=reason, truncated=len(text) - len(shown))
