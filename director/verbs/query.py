"""QUERY: gathers a value of every node of the job, for templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.arguments import words
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Query(Verb):
    """QUERY NAME: gather the ARG or fact NAME from every node of the job into `query`.

    `query` maps each node that has a value to a mapping of names to values; later QUERYs of the job add to it. An ARG
    is one that the node remembers; a fact may be a path (`os.id`). The step waits until the online nodes have ended the
    steps before it. Standard output has the values as JSON.

        RUN --stdout-arg TOKEN cat /var/lib/app/token
        QUERY TOKEN
        RUN join {{ query['db-01'].TOKEN | quote }}
    """

    name = "QUERY"
    gathers = True
    needs = "a name"
    always = True
    owned = frozenset(("target", "no-wait"))
    flags = (
        Flag("target", "str", "gather from these nodes too", repeatable=True, metavar="EXPR"),
        Flag("no-wait", "bool", "do not wait: gather what is known now", default=False),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`name`, raw; for the server `others` (nodes that the job does not run on) and `wait`."""
        body = words(instruction, planning)
        if len(body["words"]) != 1:
            raise planning.fail("QUERY takes one name; expected QUERY NAME")
        (name,) = body.pop("words")
        others: list[str] = []
        for expression in planning.flags.get("target") or ():
            others += planning.target(expression)
        own = set(planning.nodes())
        others = [node for node in dict.fromkeys(others) if node not in own]
        return {**body, "name": name, "others": others, "wait": not planning.flags.get("no-wait")}

    def exchange(self, body: dict[str, Any]) -> dict[str, Any]:
        """The nodes to ask, and the name when it is the same on every node."""
        raw = body["name"]
        name = raw if raw.replace(".", "_").replace("-", "_").isidentifier() else None
        return {"kind": "query", "name": name, "others": body.pop("others"), "wait": body.pop("wait")}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Gather the values; it is no failure when no node has one."""
        import json

        name = node.word(body["name"], body.get("escape", "\\"))
        if not name:
            raise VerbError("QUERY came out empty; expected a name")
        found = node.query(name)
        return success(json.dumps(found, ensure_ascii=False, sort_keys=True), query=found)
