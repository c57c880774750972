"""How a verb's instruction is written: its flags and its argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


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


class Syntax:
    """How a verb's instruction is written; `director.verbs.base.Verb` derives from it."""

    #: what an error names when the argument is missing, such as "a command"; "" when it may be missing
    needs: ClassVar[str] = ""
    #: the argument may be a JSON list of strings; a word: such a list may follow this word (`CMD ["a"]`)
    json_form: ClassVar[bool | str] = False
    #: `<<NAME` in the argument begins a here-document
    heredocs: ClassVar[bool] = False
    #: the argument is `NAME=VALUE` pairs, and in YAML it may be a mapping
    mapping: ClassVar[bool] = False
    #: the argument is a command of the operator, and values of the job are its environment
    command: ClassVar[bool] = False
    #: which values of the job its pairs set: "arg" or "env"; "other": names that only the node knows; "" for none
    sets: ClassVar[str] = ""

    #: the flags by name and alias, those of every verb included
    flag_table: Mapping[str, Flag] = {}
