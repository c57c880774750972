"""FROM begins a stage; USER, SHELL and WORKDIR say where and how its commands run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from director.errors import VerbError
from director.language.instructions import Instruction
from director.verbs.arguments import TEXT, Words, rendered
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, cached, success
from director.verbs.folders import absolute, make_folder
from director.verbs.ownership import wish_of


class From(Verb):
    """FROM TARGET [AS NAME]: begin a stage on these nodes.

    TARGET is an expression as for `--target`: a name, a set `web-[01-40]`, a glob, `label:tier=web`,
    `fact:os.id=debian` or `all`, joined by `and`, `or`, `not`. A stage starts when the stages before it have ended.
    `FROM NAME` with the name of an earlier stage takes its nodes, WORKDIR, USER and SHELL. FROM is no step: it has
    no task.

        FROM label:tier=web AS web
        RUN systemctl reload nginx
    """

    name = "FROM"
    flags = (Flag("platform", "str", "only nodes of this platform", metavar="OS/ARCH"),)


class User(Verb):
    """USER NAME[:GROUP]: run the commands that follow as this user, until the end of the stage.

    User and group are names or numbers. Without a group the commands have all groups of the user.

        USER postgres
        RUN whoami
    """

    name = "USER"
    argument = Words("USER takes one word; expected USER name[:group]", key="user")
    needs = "user[:group]"
    looks = True
    pure = True
    always = True

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Set the user; it need not exist before a command is run."""
        user = rendered(body, "user", node).strip()
        if not user or user.startswith(":"):
            raise VerbError("USER came out empty; expected name[:group]")
        return success(user=user)


class Shell(Verb):
    """SHELL ["PROGRAM", "ARGUMENT"…]: run commands in shell form with this program, until the end of the stage.

    That holds for RUN, `WAIT --cmd` and HEALTHCHECK CMD. The command is added as the last argument. SHELL has the JSON
    form only.

        SHELL ["/bin/bash", "-o", "pipefail", "-c"]
    """

    name = "SHELL"
    json_form = True
    needs = 'a JSON list such as ["/bin/bash", "-c"]'
    looks = True
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`shell`: the words, raw."""
        if not instruction.args or not instruction.args[0]:
            raise planning.fail('SHELL takes the JSON form only; expected SHELL ["/bin/sh", "-c"]')
        return {"shell": list(instruction.args)}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Set it for the next steps."""
        return success(shell=[node.word(word) for word in body["shell"]])


class Workdir(Verb):
    """WORKDIR FOLDER: use this working folder until the end of the stage; make it when it is missing.

    The whole line is the folder, also when it has blanks in it. A relative folder is below the last one. Links on the
    way are followed as in COPY. Standard output has the path.

        WORKDIR --chown app:app --chmod 0750 /srv/app
        WORKDIR releases
    """

    name = "WORKDIR"
    argument = TEXT
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
        return super().parse(instruction, planning)

    def foresee(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Cached when the folder exists with the owner and mode of the flags."""
        return _take(body, flags, node, dry=True)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Make the folder and set owner and mode; cached when nothing had to change."""
        return _take(body, flags, node)


def _take(body: Mapping[str, Any], flags: Mapping[str, Any], node: Node, dry: bool = False) -> Outcome:
    text = rendered(body, "text", node, "WORKDIR came out empty; expected a folder")
    path = absolute(text, node).rstrip("/") or "/"
    changed = make_folder(path, wish_of(flags, VerbError).on(node), dry=dry)
    return (success if changed else cached)(path, workdir=path)
