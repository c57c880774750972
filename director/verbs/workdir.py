"""WORKDIR: sets the working folder of the stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.arguments import whole
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, cached, success
from director.verbs.folders import absolute, make_folders
from director.verbs.ownership import Wish, settle_folder, wish_of

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Workdir(Verb):
    """WORKDIR FOLDER: use this working folder until the end of the stage; make it when it is missing.

    The whole line is the folder, also when it has blanks in it. A relative folder is below the last one. Standard
    output has the path.

        WORKDIR --chown app:app --chmod 0750 /srv/app
        WORKDIR releases
    """

    name = "WORKDIR"
    needs = "a folder"
    compares = True
    always = True
    flags = (
        Flag("chown", "str", "owner of the folder", metavar="USER[:GROUP]"),
        Flag("chmod", "str", "mode of the folder, octal or symbolic", metavar="MODE"),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`text`: the folder, raw."""
        wish_of(planning.flags, planning.fail)
        return whole(instruction, planning)

    def foresee(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Cached when the folder exists with the owner and mode of the flags."""
        path = _path(body, node)
        wish: Wish = wish_of(flags, VerbError)
        there = os.path.isdir(path) and not (wish and wish.on(node).differs(os.stat(path)))
        return (cached if there else success)(path, workdir=path)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Make the folder and set owner and mode; cached when nothing had to change."""
        path = _path(body, node)
        made = make_folders(path)
        wish: Wish = wish_of(flags, VerbError)
        changed = settle_folder(path, wish.on(node)) if wish else False
        return (success if made or changed else cached)(path, workdir=path)


def _path(body: Mapping[str, Any], node: Node) -> str:
    text = node.word(body["text"], body.get("escape", "\\"))
    if not text:
        raise VerbError("WORKDIR came out empty; expected a folder")
    return absolute(text, node).rstrip("/") or "/"
