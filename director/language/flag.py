"""What a flag of a verb is: its name, the type of its value and its line in the manual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a verb.

    Attributes:
        name: as written, without dashes (`skip-cache`); in YAML `vars` with underscores.
        kind: `bool`, `str`, `int`, `count` (not below 0), `duration` (seconds, float), `ints` (comma list) or `words`
            (comma list).
        help: one line for the manual.
        repeatable: given several times it makes a list, in the order written.
        aliases: other spellings (`retries` for `retry`).
        default: what `flags[name]` is when it was not written.
        metavar: how the manual names the value.
        per_node: the value may differ per node: where it has templates or `$X` in it the verb gets it as written, names
            it as a `document` in `raws` and renders it on the node (`Node.document`). For the kind `str` only.
    """

    name: str
    kind: str = "str"
    help: str = ""
    repeatable: bool = False
    aliases: tuple[str, ...] = ()
    default: Any = None
    metavar: str = ""
    per_node: bool = False
