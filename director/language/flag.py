"""The flags of a verb: name, type of the value, line in the manual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a verb.

    Attributes:
        name: as written, without the leading dashes (`skip-cache`); in YAML `vars` with underscores.
        kind: `bool`, `str`, `int`, `count` (not below 0), `duration` (seconds, float), `ints` (comma list) or `words`
            (comma list).
        help: one line for the manual.
        repeatable: whether it may be given several times; the value is a list in the order written.
        aliases: other spellings (`retries` for `retry`).
        default: the value when it is not written.
        metavar: how the manual names the value.
        per_node: whether the value may differ per node: one with templates or `$X` reaches the verb as written, is a
            `document` in its `raws` and is rendered on the node (`Node.document`). For the kind `str` only.
    """

    name: str
    kind: str = "str"
    help: str = ""
    repeatable: bool = False
    aliases: tuple[str, ...] = ()
    default: Any = None
    metavar: str = ""
    per_node: bool = False
