"""ADD: does what COPY does, and also fetches URLs and unpacks archives."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from director.transfer.pieces import Content
from director.verbs.archives import is_archive, unpack
from director.verbs.arguments import Words
from director.verbs.base import Entry, Flag, Node, Planning
from director.verbs.copy import Copy, is_address
from director.verbs.install import Installer
from director.verbs.probes import check_url
from director.verbs.source_lists import Row

_GIT = re.compile(r"(?:git://|ssh://|git@[^/]+:|https?://.*\.git(?:[#?/].*)?$)", re.IGNORECASE)
_CHECKSUM = re.compile(r"sha256:([0-9a-f]{64})")
DOWNLOAD_MODE = 0o600


class Add(Copy):
    """ADD SOURCE… DESTINATION: as COPY; a source may also be a URL, and tar archives are unpacked.

    The server fetches a URL once, when the job is submitted; the file's mode is 0600. A local tar archive (plain, gzip,
    bzip2 or xz) is unpacked into the destination folder; `--unpack=false` copies it as it is. An archive cannot write
    outside of that folder, and its set-user-id bits are dropped. Git repositories are refused: use RUN git clone.

        ADD --chmod=0755 https://example.com/downloads/app-1.4.2 /opt/app/app
        ADD release.tar.gz /srv/app/
    """

    name = "ADD"
    argument = Words("ADD needs a source and a destination; expected ADD SOURCE… DESTINATION", least=2)
    flags = (
        *(flag for flag in Copy.flags if flag.name != "from"),
        Flag("unpack", "bool", "unpack local tar archives; the default, --unpack=false turns it off", default=True),
        Flag("checksum", "str", "checksum that the content of a URL must have", metavar="sha256:HEX"),
    )

    def _take_flags(self, body: dict[str, Any], planning: Planning) -> None:
        super()._take_flags(body, planning)
        body["unpack"] = planning.flags.get("unpack", True)
        checksum = planning.flags.get("checksum")
        if checksum is not None:
            match = _CHECKSUM.fullmatch(checksum)
            if match is None:
                raise planning.fail(f"--checksum={checksum} cannot be read; expected sha256: and 64 hexadecimal digits")
            if len(body["asks"]) != 1 or body["texts"]:
                raise planning.fail("--checksum is for one URL; expected one source")
            body["checksum"] = match[1]

    def _check_source(self, pattern: str, body: Mapping[str, Any], planning: Planning) -> None:
        if not pattern:
            raise planning.fail("a source came out empty; expected a path or a URL")
        if _GIT.match(pattern):
            raise planning.fail(f"ADD does not fetch Git repositories; expected RUN git clone {pattern} FOLDER")
        if "checksum" in body and not is_address(pattern):
            raise planning.fail("--checksum is for URLs; expected a source that begins with https://")

    def _row(self, entry: Entry, body: Mapping[str, Any], planning: Planning) -> Row:
        row = super()._row(entry, body, planning)
        single = entry.kind == "file" and not entry.path and entry.extents is None
        if body["unpack"] and single and is_archive(planning.content_path(entry.digest)):
            row[0] = "tar"
        return row

    def _more_rows(self, body: Mapping[str, Any], planning: Planning) -> list[Row]:
        rows = []
        for pattern in filter(is_address, self._patterns(body, planning)):
            address = pattern.replace("\\", "")
            name = os.path.basename(unquote(check_url(address, planning.fail).path))
            if not name and body["dest"].endswith("/"):
                raise planning.fail(f"{address} names no file; expected a destination that does not end in /")
            entry = planning.download(address, body.get("checksum", ""))
            rows.append(
                [*self._row(entry, {"unpack": False}, planning)[:2], DOWNLOAD_MODE, entry.size, entry.digest, "", name]
            )
        return rows

    def strip(self, body: dict[str, Any]) -> None:
        """Take out of the body what only the planner needs."""
        super().strip(body)
        body.pop("checksum", None)
        del body["unpack"]

    def _place(
        self, row: Row, content: Content, dest: str, into: bool, installer: Installer, blueprint: bool, node: Node
    ) -> None:  # fmt: skip
        """Unpack an archive; copy anything else."""
        if row[0] == "tar":
            unpack(node.blob(row[4], row[3]), dest.rstrip("/") or "/", installer)
        else:
            super()._place(row, content, dest, into, installer, blueprint, node)
