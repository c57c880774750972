"""QUERY: gathers a value of every node of the job, for templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from director.language.instructions import Instruction
from director.verbs.arguments import Words, rendered
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, success


class Query(Verb):
    """QUERY NAME: gather the ARG or fact NAME from every node of the job into `query`.

    `query` maps each node that has a value to a mapping of names to values; later QUERYs of the job add to it. An ARG
    is one that the node remembers; a fact may be a path (`os.id`). The step waits until the online nodes have ended the
    steps before it. Standard output has the values as JSON. What a node said is data: `quote` it for
    a shell (RUN).

        RUN --stdout-arg TOKEN cat /var/lib/app/token
        QUERY TOKEN
        RUN join {{ query['db-01'].TOKEN | quote }}
    """

    name = "QUERY"
    gathers = True
    argument = Words("QUERY takes one name; expected QUERY NAME", key="name")
    needs = "a name"
    looks = True
    always = True
    owned = frozenset(("target", "no-wait"))
    flags = (
        Flag("target", "str", "gather from these nodes too", repeatable=True, metavar="EXPR"),
        Flag("no-wait", "bool", "do not wait: gather what is known now", default=False),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`name`, raw; for the server `others` (nodes that the job does not run on) and `wait`."""
        body = super().parse(instruction, planning)
        found = [node for expression in planning.flags.get("target") or () for node in planning.target(expression)]
        own = set(planning.nodes())
        others = [node for node in dict.fromkeys(found) if node not in own]
        return {**body, "others": others, "wait": not planning.flags.get("no-wait")}

    def exchange(self, body: dict[str, Any]) -> dict[str, Any]:
        """The nodes to ask, and the name when it is the same on every node."""
        raw = body["name"]
        name = raw if raw.replace(".", "_").replace("-", "_").isidentifier() else None
        return {"kind": "query", "name": name, "others": body.pop("others"), "wait": body.pop("wait")}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Gather the values; it is no failure when no node has one."""
        import json

        found = node.query(rendered(body, "name", node, "QUERY came out empty; expected a name"))
        return success(json.dumps(found, ensure_ascii=False, sort_keys=True), query=found)
