"""Reads the YAML form: a list of entries, one for each stage; every value is the text as written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from director.errors import LanguageError
from director.ids import RESERVED
from director.language import foreign, types
from director.language.builder import build
from director.language.error_list import Faults
from director.language.flags import from_vars
from director.language.instructions import Document, Instruction, Stage
from director.language.nearest import hint
from director.language.syntax import Syntax
from director.runtime.yaml_text import Items, Node, Pairs, Scalar, compose

_ENTRY_KEYS = ("name", "targets", "async", "assign", "jobs")
_STEP_KEYS = ("name", "vars", "assign")
_WORD = re.compile(r"\S+")


def read(text: str, file: str, verbs: Mapping[str, Syntax], faults: Faults) -> Document:
    """The document of a text in YAML form, without the wrong entries and steps, whose errors go to `faults`.

    Raises:
        LanguageError: the text is not YAML, or not a list with entries.
        LanguageErrors: `faults` has collected as many errors as it takes.
    """
    root = compose(text, file)
    reader = _Reader(file, verbs, faults)
    if root is None or (isinstance(root, Items) and not root.items):
        raise LanguageError("there is no instruction; expected a list of entries with jobs", file, 1)
    if isinstance(root, Pairs):
        raise LanguageError(
            "there is a mapping at the top; expected a list: put '- ' before its first key", file, root.line
        )
    if not isinstance(root, Items):
        raise LanguageError("there is a text at the top; expected a list of entries with jobs", file, root.line)
    stages = []
    for entry in root.items:
        with faults.caught():
            stages.append(reader.stage(entry))
    return Document(stages, file=file)


class _Reader:
    def __init__(self, file: str, verbs: Mapping[str, Syntax], faults: Faults) -> None:
        self._faults = faults
        self._file = file
        self._verbs = verbs

    def _wrong(self, message: str, line: int) -> LanguageError:
        return LanguageError(message, self._file, line)

    def stage(self, entry: Node) -> Stage:
        """The stage of one entry. Raises LanguageError."""
        if not isinstance(entry, Pairs):
            raise self._wrong("an entry is not a mapping; expected targets and jobs in it", entry.line)
        keys = self._keys(entry, "an entry")
        unknown = [
            self._wrong(f"an entry has no key {key!r}{self._entry_hint(key)}", name.line)
            for key, (name, _) in keys.items()
            if key not in _ENTRY_KEYS
        ]
        for error in unknown:
            self._faults.add(error)
        targets = self._texts(keys, "targets")
        jobs = keys.get("jobs")
        if jobs is None or not isinstance(jobs[1], Items) or not jobs[1].items:
            raise (
                unknown[0]
                if unknown
                else self._wrong("an entry has no jobs; expected jobs: with a list of steps", entry.line)
            )
        return Stage(
            self._texts(keys, "assign") or targets,
            self._stage_name(keys, entry.line),
            self._steps(jobs[1]),
            entry.line,
            asynchronous=self._yes(keys),
        )

    def _entry_hint(self, key: str) -> str:
        if key.upper() in self._verbs:
            return f"; steps belong under jobs: as '- {key}: …'"
        return hint(key, _ENTRY_KEYS)

    def _keys(self, node: Pairs, what: str) -> dict[str, tuple[Scalar, Node]]:
        keys: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Node] = []
        for key, value in node.pairs:
            if isinstance(key, Scalar) and key.text == "<<" and not key.style:
                merged += value.items if isinstance(value, Items) else [value]
                continue
            if not isinstance(key, Scalar):
                raise self._wrong(self._no_key(node, what), node.line)
            if key.text in keys:
                raise self._wrong(f"{what} has the key {key.text!r} twice; expected it once", node.line)
            keys[key.text] = (key, value)
        for other in merged:
            if not isinstance(other, Pairs):
                raise self._wrong(f"{what} has a << that is not a mapping; expected an alias of one", node.line)
            keys = {**self._keys(other, what), **keys}
        return keys

    @staticmethod
    def _no_key(node: Pairs, what: str) -> str:
        if node.flow:
            return "a value that begins with {{ must be quoted: '{{ … }}'"
        return f"{what} has a key that is not a text; expected a name"

    def _texts(self, keys: Mapping[str, tuple[Scalar, Node]], name: str) -> tuple[str, ...]:
        """The texts of a list, or a single text; () when there is no such key or no value."""
        if name not in keys:
            return ()
        key, node = keys[name]
        if isinstance(node, Scalar):
            return () if node.absent else (node.text,)
        if isinstance(node, Pairs):
            raise self._wrong(f"{name} is a mapping; {self._list_hint(node)}", key.line)
        for item in node.items:
            if not isinstance(item, Scalar) or item.absent:
                wrong = self._list_hint(item) if isinstance(item, Pairs) else "expected a list of texts"
                raise self._wrong(f"{name} has an item that is not a text; {wrong}", key.line)
        return tuple(item.text for item in node.items if isinstance(item, Scalar))

    @staticmethod
    def _list_hint(node: Pairs) -> str:
        if node.flow and any(not isinstance(key, Scalar) for key, _ in node.pairs):
            return "a value that begins with {{ must be quoted: '{{ … }}'"
        return "expected a list of texts"

    def _stage_name(self, keys: Mapping[str, tuple[Scalar, Node]], line: int) -> str:
        """The name of an entry, which may have blanks, but is not a reserved word."""
        name = self._name(keys, line)
        if name in RESERVED:
            raise self._wrong(
                f"the entry's name {name!r} is a reserved word; expected another one", keys["name"][1].line
            )
        return name

    def _name(self, keys: Mapping[str, tuple[Scalar, Node]], line: int) -> str:
        if "name" not in keys:
            return ""
        node = keys["name"][1]
        if not isinstance(node, Scalar):
            raise self._wrong("name is not a text; expected one line", line)
        return node.text

    def _yes(self, keys: Mapping[str, tuple[Scalar, Node]]) -> bool:
        if "async" not in keys:
            return False
        key, node = keys["async"]
        word = node.text.lower() if isinstance(node, Scalar) else ""
        if word not in ("true", "yes", "on", "false", "no", "off"):
            raise self._wrong("async is neither true nor false; expected one of them", key.line)
        return word in ("true", "yes", "on")

    def _steps(self, jobs: Items) -> list[Instruction]:
        steps = []
        for step in jobs.items:
            with self._faults.caught():
                steps.append(self._step(step))
        return steps

    def _step(self, step: Node) -> Instruction:
        if not isinstance(step, Pairs):
            raise self._wrong("a step is not a mapping; expected VERB: text, such as RUN: uptime", step.line)
        keys = self._keys(step, "a step")
        verbs = [key for key in keys if key not in _STEP_KEYS]
        known = [key for key in verbs if key.upper() in self._verbs or key.upper() in foreign.ELSEWHERE]
        unknown = [key for key in verbs if key not in known]
        if unknown:
            raise self._wrong(self._unknown(unknown[0], bool(known)), step.line)
        if len(known) != 1:
            found = f"{known[0]} and {known[1]} in one" if known else "no verb in a"
            raise self._wrong(f"there is {found} step; expected one VERB: text in each", step.line)
        verb = known[0].upper()
        if verb not in self._verbs:
            raise self._wrong(foreign.unknown(verb, self._verbs), step.line)
        if verb == "FROM":
            raise self._wrong("FROM has no meaning in YAML; use targets: of the entry", step.line)
        return self._instruction(verb, keys[known[0]][1], keys, step.line)

    def _unknown(self, key: str, has_verb: bool) -> str:
        if has_verb:
            return f"a step has no key {key!r}{hint(key, _STEP_KEYS)}"
        return foreign.unknown(key, (*self._verbs, *_STEP_KEYS))

    def _instruction(self, verb: str, node: Node, keys: Mapping[str, tuple[Scalar, Node]], line: int) -> Instruction:
        syntax = self._verbs[verb]
        pairs = self._pairs(verb, node, line) if isinstance(node, Pairs) else None
        text = self._text(verb, node, line) if not isinstance(node, Pairs) else _shown(pairs or ())
        source = f"{verb} {text}".rstrip()
        try:
            made = build(verb, "x" if pairs else text, syntax, file=self._file, line=line, form="yaml", source=source)
            if isinstance(node, Items):
                made = replace(made, args=tuple(item.text for item in node.items if isinstance(item, Scalar)))
            flags = dict(made.flags)
            from_vars(flags, self._vars(keys, verb), syntax.flag_table, verb)
            if name := self._name(keys, line):
                from_vars(flags, [("name", [name])], syntax.flag_table, verb)
        except ValueError as error:
            raise self._wrong(str(error), line) from None
        text = text if pairs else made.text
        return replace(made, flags=flags, text=text, pairs=pairs, assign=self._texts(keys, "assign"))

    def _text(self, verb: str, node: Scalar | Items, line: int) -> str:
        if isinstance(node, Scalar):
            return node.text.strip()
        for item in node.items:
            if not isinstance(item, Scalar):
                raise self._wrong(f"the list of {verb} has an item that is not a text; expected texts", line)
        return json.dumps([item.text for item in node.items if isinstance(item, Scalar)], ensure_ascii=False)

    def _pairs(self, verb: str, node: Pairs, line: int) -> tuple[tuple[str, str], ...]:
        if node.flow and any(not isinstance(key, Scalar) for key, _ in node.pairs):
            raise self._wrong(f"a value that begins with {{{{ must be quoted: {verb}: '{{{{ … }}}}'", line)
        if not self._verbs[verb].mapping:
            raise self._wrong(f"the value of {verb} is a mapping; expected a text or a list of words", line)
        found = self._keys(node, f"the mapping of {verb}")
        try:
            return tuple((key, _as_text(value)) for key, (_, value) in found.items())
        except types.KeyFaultError as error:
            raise self._wrong(f"in the mapping of {verb} {error}", error.line) from None

    def _vars(self, keys: Mapping[str, tuple[Scalar, Node]], verb: str) -> list[tuple[str, list[str]]]:
        if "vars" not in keys:
            return []
        node = keys["vars"][1]
        if isinstance(node, Scalar) and node.absent:
            return []
        if not isinstance(node, Pairs):
            raise ValueError(f"vars of {verb} is not a mapping; expected flags by name, such as timeout: 30")
        found = self._keys(node, f"vars of {verb}")
        return [(key, list(self._texts(found, key))) for key in found]


def _as_text(node: Node) -> str:
    """A value of a mapping: as written, lists and mappings as JSON; quotes make it text in templates."""
    if isinstance(node, Scalar):
        return types.Written(node.text) if node.style in ("'", '"') else node.text
    return json.dumps(types.plain(node), ensure_ascii=False)


def _shown(pairs: tuple[tuple[str, str], ...]) -> str:
    return " ".join(
        f"{key}={value if _WORD.fullmatch(value) else json.dumps(value, ensure_ascii=False)}" for key, value in pairs
    )
