"""FETCH: files from nodes to the operator's machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.arguments import words
from director.verbs.base import Node, Outcome, Planning, Verb, cached, success
from director.verbs.folders import absolute

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Fetch(Verb):
    """FETCH SOURCE… FOLDER: copy files of the nodes into FOLDER on the operator's machine, below a folder of each
    node's name.

    Sources are those of COPY: a file or a glob gives files by their names, a folder its contents; relative ones are
    below WORKDIR. A relative FOLDER is below the file's folder (with `--exec` the working folder). Everything is
    written with the submitter's own rights, and is theirs: modes are kept (no setuid), files are replaced as a whole
    (a device, a FIFO or a socket never is, and the step fails), links stay links where they lead to something of the
    same node. It returns the destinations, one a line, and what was left out on stderr; when everything is there
    already the step is `cached`.

        FETCH /etc/os-release /var/log/app collected/
    """

    name = "FETCH"
    json_form = True
    needs = "sources and a folder"
    compares = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`paths` raw; for the server `folder`, absolute."""
        import os

        body = words(instruction, planning)
        if len(body["words"]) < 2:
            raise planning.fail("FETCH needs a source and a folder; expected FETCH SOURCE… FOLDER")
        *paths, folder = body.pop("words")
        folder = planning.word(folder, body.get("escape", "\\"))
        if not folder:
            raise planning.fail("the folder came out empty; expected FETCH SOURCE… FOLDER")
        return {**body, "paths": paths, "folder": os.path.normpath(os.path.join(planning.folder, folder))}

    def exchange(self, body: dict[str, Any]) -> dict[str, Any]:
        """Where the files go."""
        return {"kind": "fetch", "folder": body.pop("folder")}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """The executor sends what the paths name."""
        asked = [node.pattern(raw, body.get("escape", "\\")) for raw in body["paths"]]
        if not all(asked):
            raise VerbError("a source came out empty; expected a path")
        patterns = [absolute(pattern, node) for pattern in asked]
        there = node.offer(patterns)
        if not there.paths and not there.left_out:
            raise VerbError(f"{patterns[0]}: nothing there to fetch")
        text = "\n".join(there.paths)
        outcome = success(text) if there.changed else cached(text)
        outcome.stderr = "\n".join(f"left out: {line}" for line in there.left_out).encode("utf-8", "surrogateescape")
        return outcome
