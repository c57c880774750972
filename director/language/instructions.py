"""Instructions: how a verb's instruction is written, what both readers make of a text, and how an argument is split."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from director.language import braces, words
from director.language.flags import Flag, take

_DOCUMENTS = {"[": "]", "{": "}"}
_FIRST = re.compile(f"[^{words.NARROW_BLANKS}]*")
_HALF = re.compile("[\ud800-\udfff]")  # JSON allows `"\\ud800"`, a surrogate without its pair


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


_NONE = Syntax()


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document.

    Attributes:
        name: the delimiter, which is the file's name for COPY and ADD.
        content: the text, without leading tabs for `<<-`.
        expand: whether `$X` and braces are replaced, as the delimiter is not quoted.
        fd: the file descriptor before `<<`, 0 when there is none.
        chomp: whether it is `<<-`, which drops leading tabs.
    """

    name: str
    content: str
    expand: bool = True
    fd: int = 0
    chomp: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction as written.

    Attributes:
        verb: upper case.
        flags: the written flags, name to converted value; aliases are resolved, repeatable flags are lists.
        text: the argument behind the flags, with continuations joined.
        args: the strings of the JSON form, None for the shell form.
        heredocs: in the order of the text.
        file, line: where it begins, from line 1.
        form: `containerfile` or `yaml`.
        escape: the escape character, backslash or backtick.
        pairs: the mapping that is the verb's value, in YAML.
        assign: target expressions of the step, in YAML.
        source: the whole instruction as written, for `--job-info`.
        syntax: what the reader knows of the verb.
    """

    verb: str
    flags: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    args: tuple[str, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()
    file: str = "exec"
    line: int = 1
    form: str = "containerfile"
    escape: str = "\\"
    pairs: tuple[tuple[str, Any], ...] | None = None
    assign: tuple[str, ...] = ()
    source: str = ""
    syntax: Syntax = _NONE


@dataclass(slots=True)
class Stage:
    """The instructions between one FROM and the next, or one entry of a YAML list.

    Attributes:
        targets: expressions, whose union it is; () for the default of the submission.
        name: of `AS name` or the entry's `name`, else "".
        instructions: without the FROM itself.
        line: of the FROM or the entry.
        asynchronous: YAML `async: true`.
        platform: of `FROM --platform`, else "".
    """

    targets: tuple[str, ...] = ()
    name: str = ""
    instructions: list[Instruction] = field(default_factory=list)
    line: int = 1
    asynchronous: bool = False
    platform: str = ""


@dataclass(slots=True)
class Document:
    """One orchestration text.

    Attributes:
        stages: in order; a text without FROM has one stage without targets.
        globals: the ARGs before the first FROM.
        file: its name as the user gave it.
    """

    stages: list[Stage]
    globals: list[Instruction] = field(default_factory=list)
    file: str = "exec"


def build(verb: str, text: str, syntax: Syntax, **fields: Any) -> Instruction:
    """An instruction of `verb`, whose flags and argument are `text`.

    Args:
        fields: the other attributes of an `Instruction`.

    Raises:
        ValueError: what is wrong and what was expected.
    """
    flags: dict[str, Any] = {}
    if text.startswith("--"):
        flags, text = take(text, syntax.flag_table, verb)
    text = text.strip(words.BLANKS)
    args = json_form(syntax, text)
    if (not text or args == ()) and syntax.needs and not flags.get("help"):
        raise ValueError(f"{verb} has no argument; expected {syntax.needs}")
    return Instruction(verb, flags, text, args, syntax=syntax, **fields)


def json_form(syntax: Syntax, text: str) -> tuple[str, ...] | None:
    """The strings of the JSON form, or None for the shell form. Raises ValueError for anything but strings in it."""
    if syntax.json_form is True:
        return strings(text)
    word, rest = text_parts(text) if syntax.json_form else ("", "")
    found = strings(rest) if word.upper() == syntax.json_form else None
    return None if found is None else (word, *found)


def text_parts(text: str) -> tuple[str, str]:
    """The first word, and the rest without the blanks before it."""
    word = _FIRST.match(text)
    end = word.end() if word else 0
    return text[:end], text[end:].lstrip(words.NARROW_BLANKS)


def strings(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON list, None when `text` is not a list. Raises ValueError when it has other values."""
    text = text.lstrip(words.BLANKS)
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text, strict=True)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise ValueError("a JSON list here may have only strings; put the other values in double quotes")
    return tuple(_HALF.sub("\ufffd", item) for item in value)


def arguments(instruction: Instruction) -> list[str]:
    """The raw words of an instruction, in shell or JSON form. Raises ValueError for an open quote in YAML."""
    if instruction.args is not None:
        return list(instruction.args)
    if instruction.form == "containerfile":
        return words.plain(instruction.text)
    found = words.quoted(instruction.text, instruction.escape)
    if found and (quote := words.open_quote(found[-1], instruction.escape)):
        raise ValueError(f"the quote {quote} is not closed in {found[-1]}; close it or put \\ before it")
    return found


def pairs(instruction: Instruction) -> list[tuple[str, str | None]]:
    """Key and raw value of each pair of ENV, LABEL or ARG; the value is None for an ARG that is only declared.

    A value that is a JSON list or mapping keeps its quotes.

    Raises:
        ValueError: a pair is wrong; with what was expected.
    """
    if instruction.pairs is not None:
        return [(key, words.raw_of(value)) for key, value in instruction.pairs]
    return [(key, value and _as_written(value, instruction.escape)) for key, value in _written_pairs(instruction)]


def _written_pairs(instruction: Instruction) -> list[tuple[str, str | None]]:
    text, verb = instruction.text.strip(words.BLANKS), instruction.verb
    found = words.quoted(text, instruction.escape) if instruction.args is None else instruction.args
    if instruction.syntax.sets != "arg":
        return _key_values(text, found, instruction)
    if instruction.args is not None or instruction.form == "containerfile":
        return [_pair(word, verb) for word in found]
    named = found and "=" in found[0] and not braces.present(found[0].partition("=")[0])
    return [_pair(text, verb) if named else _first_word(text)]


def _key_values(text: str, found: Sequence[str], instruction: Instruction) -> list[tuple[str, str | None]]:
    """`KEY=VALUE …`, or `KEY the rest of the line`: the first word decides."""
    verb = instruction.verb
    if instruction.args is not None or (found and "=" in found[0]):
        for word in found:
            if "=" not in word:
                raise ValueError(f"{verb} has no = in {word!r}; expected KEY=VALUE, with quotes around blanks")
        return [_pair(word, verb) for word in found]
    key, value = _first_word(text)
    if value is None:
        raise ValueError(f"{verb} needs a key and a value; expected KEY=VALUE or KEY VALUE")
    return [(key, value)]


def _pair(word: str, verb: str) -> tuple[str, str | None]:
    key, equals, value = word.partition("=")
    if not key:
        raise ValueError(f"{verb} has no name before = in {word!r}; expected KEY=VALUE")
    return key, value if equals else None


def _first_word(text: str) -> tuple[str, str | None]:
    key, *rest = braces.split_around(words.BETWEEN, text, 1)
    return key, rest[0] if rest else None


def _as_written(raw: str, escape: str) -> str:
    """In a JSON list or mapping the quotes are part of the value."""
    if raw[0] in _DOCUMENTS and raw[-1] == _DOCUMENTS[raw[0]] and raw[:2] not in ("{{", "{%"):
        return words.literal(raw, escape)
    return raw
