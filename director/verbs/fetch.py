"""FETCH: copies files of the nodes to the operator's machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from director.errors import VerbError
from director.language.instructions import Instruction
from director.verbs.arguments import Words, escape_of
from director.verbs.base import Node, Outcome, Planning, Verb, cached, success
from director.verbs.folders import absolute


class Fetch(Verb):
    """FETCH SOURCE… FOLDER: copy files of the nodes into FOLDER on the operator's machine.

    In FOLDER each node has a folder of its name. Sources are as for COPY: a file or a glob gives files under their
    names, a folder gives its contents; a relative source is below WORKDIR. A relative FOLDER is below the folder of the
    orchestration file (with `--exec` below the working folder). Files are written with the submitter's own rights and
    belong to the submitter. Modes are kept, without setuid. A file is replaced as a whole; the step fails where a
    device, a FIFO or a socket would be replaced. A link stays a link where it leads to something of the same node;
    none is followed below FOLDER, and on the way to it only those of root or of the submitter.
    Standard output has one destination a line, standard error what was left out. The step is `cached` when everything
    is there already.

        FETCH /etc/os-release /var/log/app collected/
    """

    name = "FETCH"
    json_form = True
    argument = Words("FETCH needs a source and a folder; expected FETCH SOURCE… FOLDER", least=2)
    needs = "sources and a folder"
    looks = True
    compares = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`paths`, raw; for the server `folder`, absolute."""
        body = super().parse(instruction, planning)
        *paths, folder = body.pop("words")
        folder = planning.word(folder, escape_of(body))
        if not folder:
            raise planning.fail("the folder came out empty; expected FETCH SOURCE… FOLDER")
        return {**body, "paths": paths, "folder": os.path.normpath(os.path.join(planning.folder, folder))}

    def exchange(self, body: dict[str, Any]) -> dict[str, Any]:
        """The folder on the operator's machine."""
        return {"kind": "fetch", "folder": body.pop("folder")}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Send the files that the paths name."""
        asked = [node.pattern(raw, escape_of(body)) for raw in body["paths"]]
        if not all(asked):
            raise VerbError("a source came out empty; expected a path")
        patterns = [absolute(pattern, node) for pattern in asked]
        there = node.offer(patterns)
        if not there.paths and not there.left_out:
            raise VerbError(f"{patterns[0]}: no such file or folder")
        text = "\n".join(there.paths)
        outcome = success(text) if there.changed else cached(text)
        outcome.stderr = "\n".join(f"left out: {line}" for line in there.left_out).encode("utf-8", "surrogateescape")
        return outcome
