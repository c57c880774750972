"""QUERY: a value of every node of the job, for templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, success
from director.verbs.reading import words

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Query(Verb):
    """QUERY NAME: gather the ARG or fact NAME from every node of the job into `query`.

    `query` is a mapping of node to mapping of name to value, with only the nodes that have it; it grows over the job.
    The step waits until the online nodes have passed or ended the steps before. It returns the values as JSON.

        RUN --stdout-arg TOKEN cat /var/lib/app/token
        QUERY TOKEN
        RUN join {{ query['db-01'].TOKEN | quote }}
    """

    name = "QUERY"
    always = True
    gate = True
    owned = frozenset(("target", "no-wait"))
    flags = (
        Flag("target", "str", "from these nodes too", repeatable=True, metavar="EXPR"),
        Flag("no-wait", "bool", "take what is known now", default=False),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`name` raw, `nodes`, `wait`."""
        body = words(instruction, planning)
        if len(body["words"]) != 1:
            raise planning.fail("QUERY takes one name; expected QUERY NAME")
        nodes = list(planning.nodes())
        for expression in planning.flags.get("target", ()):
            nodes += planning.target(expression)
        wait = not planning.flags.get("no-wait", False)
        return {"name": body["words"][0], "nodes": list(dict.fromkeys(nodes)), "wait": wait}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Nobody having it is no failure."""
        import json

        name = node.word(body["name"])
        if not name:
            raise VerbError("QUERY came out empty; expected a name")
        found = node.query(name, body["nodes"], body["wait"])
        return success(json.dumps(found, ensure_ascii=False, sort_keys=True), query=found)
