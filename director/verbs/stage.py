"""FROM: begins a stage. The readers and the planner handle it; this class has its manual."""

from __future__ import annotations

from director.verbs.base import Flag, Verb


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
