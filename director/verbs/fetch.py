"""FETCH: files from nodes to the operator's machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.base import Node, Outcome, Planning, Verb, success
from director.verbs.places import absolute
from director.verbs.reading import words

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Fetch(Verb):
    """FETCH SOURCE… FOLDER: copy files and folders of the nodes into FOLDER on the operator's machine, into a
    sub-folder for each node. It returns the destinations, one a line.

        FETCH /etc/os-release /var/log/app collected/
    """

    name = "FETCH"

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`paths` raw, `folder` absolute."""
        import os

        body = words(instruction, planning)
        if len(body["words"]) < 2:
            raise planning.fail("FETCH needs a source and a folder; expected FETCH SOURCE… FOLDER")
        *paths, folder = body.pop("words")
        return {**body, "paths": paths, "folder": os.path.join(planning.folder, planning.word(folder))}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """The executor sends what the paths name."""
        paths = [absolute(node.word(raw, body.get("escape", "\\")), node) for raw in body["paths"]]
        there = node.offer(paths, body["folder"])
        if not there:
            raise VerbError(f"{paths[0]}: nothing there to fetch")
        return success("\n".join(there))
