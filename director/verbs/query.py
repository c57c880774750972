"""QUERY: a value of every node of the job, for templates."""

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

    `query` is a mapping of node to mapping of name to value, with only the nodes that have it; it grows over the job.
    An ARG is one that the node remembers, a fact may be a path (`os.id`). The step waits until the online nodes have
    passed or ended the steps before. It returns the values as JSON.

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
        Flag("target", "str", "from these nodes too", repeatable=True, metavar="EXPR"),
        Flag("no-wait", "bool", "take what is known now", default=False),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`name` raw; for the server `others` (nodes besides those of the job) and `wait`."""
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
        """Whom to ask and, where it is the same on every node, for which name."""
        raw = body["name"]
        name = raw if raw.replace(".", "_").replace("-", "_").isidentifier() else None
        return {"kind": "query", "name": name, "others": body.pop("others"), "wait": body.pop("wait")}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Nobody having it is no failure."""
        import json

        name = node.word(body["name"], body.get("escape", "\\"))
        if not name:
            raise VerbError("QUERY came out empty; expected a name")
        found = node.query(name)
        return success(json.dumps(found, ensure_ascii=False, sort_keys=True), query=found)
