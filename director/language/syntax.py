"""What the readers of the language must know of a verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from director.language.flag import Flag


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
