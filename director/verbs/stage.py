"""FROM: the nodes of a stage. The readers and the planner do it; here is its manual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from director.verbs.base import Flag, Planning, Verb

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class From(Verb):
    """FROM TARGET [AS NAME]: begin a stage on these nodes.

    TARGET is what `--target` takes: a name, a set `web-[01-40]`, a glob, `label:tier=web`, `fact:os.id=debian`, `all`,
    joined by `and`, `or`, `not`. A stage starts when the ones before have ended. `FROM NAME` of an earlier stage
    takes its nodes, and its WORKDIR, USER and SHELL. It is no step: it has no task.

        FROM label:tier=web AS web
        RUN systemctl reload nginx
    """

    name = "FROM"
    flags = (Flag("platform", "str", "only nodes of this platform", metavar="OS/ARCH"),)

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """Never a step."""
        raise planning.fail("FROM begins a stage; expected it outside of one")
