"""Reads the YAML form: a list of entries, one for each stage; every value is the text as written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from director.errors import LanguageError
from director.ids import RESERVED
from director.language import foreign, types
from director.language.error_list import Faults
from director.language.flags import NO, YES, from_vars
from director.language.foreign import hint
from director.language.instructions import Document, Instruction, Stage, Syntax, build
from director.language.types import KeyFaultError
from director.runtime.yaml_text import Items, Node, Pairs, Scalar, compose

_ENTRY_KEYS = ("name", "targets", "async", "assign", "jobs")
_STEP_KEYS = ("name", "vars", "assign")
_WORD = re.compile(r"\S+")
_QUOTE_IT = "a value that begins with {{ must be quoted: '{{ … }}'"
Keys = Mapping[str, tuple[Scalar, Node]]  # each key of a mapping with its value


def read(text: str, file: str, verbs: Mapping[str, Syntax], faults: Faults) -> Document:
    """The document of a text in YAML form, without the wrong entries and steps, whose errors go to `faults`.

    Raises:
        LanguageError: the text is not YAML, or not a list with entries.
        LanguageErrors: `faults` has collected as many errors as it takes.
    """
    root = compose(text, file)
    if root is None or (isinstance(root, Items) and not root.items):
        raise LanguageError("there is no instruction; expected a list of entries with jobs", file, 1)
    if not isinstance(root, Items):
        found = "a text at the top; expected a list of entries with jobs"
        if isinstance(root, Pairs):
            found = "a mapping at the top; expected a list: put '- ' before its first key"
        raise LanguageError(f"there is {found}", file, root.line)
    reader = _Reader(file, verbs, faults)
    stages: list[Stage] = []
    for entry in root.items:
        with faults.caught(file, entry.line):
            stages.append(reader.stage(entry))
    return Document(stages, file=file)


class _Reader:
    """Reads entries and steps; they raise KeyFaultError, or ValueError for the line where the entry or step begins."""

    def __init__(self, file: str, verbs: Mapping[str, Syntax], faults: Faults) -> None:
        self._faults = faults
        self._file = file
        self._verbs = verbs

    def stage(self, entry: Node) -> Stage:
        """The stage of one entry."""
        if not isinstance(entry, Pairs):
            raise ValueError("an entry is not a mapping; expected targets and jobs in it")
        keys = _keys(entry, "an entry")
        unknown = [
            KeyFaultError(f"an entry has no key {key!r}{self._entry_hint(key)}", name.line)
            for key, (name, _) in keys.items()
            if key not in _ENTRY_KEYS
        ]
        for error in unknown:
            self._faults.add(LanguageError(str(error), self._file, error.line))
        targets = _texts(keys, "targets")
        jobs = keys["jobs"][1] if "jobs" in keys else None
        if not isinstance(jobs, Items) or not jobs.items:
            raise unknown[0] if unknown else ValueError("an entry has no jobs; expected jobs: with a list of steps")
        name = _name(keys)
        if name in RESERVED:
            message = f"the entry's name {name!r} is a reserved word; expected another one"
            raise KeyFaultError(message, keys["name"][1].line)
        targets = _texts(keys, "assign") or targets
        return Stage(targets, name, self._steps(jobs), entry.line, asynchronous=_yes(keys))

    def _entry_hint(self, key: str) -> str:
        if key.upper() in self._verbs:
            return f"; steps belong under jobs: as '- {key}: …'"
        return hint(key, _ENTRY_KEYS)

    def _steps(self, jobs: Items) -> list[Instruction]:
        steps: list[Instruction] = []
        for step in jobs.items:
            with self._faults.caught(self._file, step.line):
                steps.append(self._step(step))
        return steps

    def _step(self, step: Node) -> Instruction:
        if not isinstance(step, Pairs):
            raise ValueError("a step is not a mapping; expected VERB: text, such as RUN: uptime")
        keys = _keys(step, "a step")
        others = [key for key in keys if key not in _STEP_KEYS]
        known = [key for key in others if key.upper() in self._verbs or key.upper() in foreign.ELSEWHERE]
        for key in others:
            if key not in known and known:
                raise ValueError(f"a step has no key {key!r}{hint(key, _STEP_KEYS)}")
            if key not in known:
                raise ValueError(foreign.unknown(key, (*self._verbs, *_STEP_KEYS)))
        if len(known) != 1:
            found = f"{known[0]} and {known[1]} in one" if known else "no verb in a"
            raise ValueError(f"there is {found} step; expected one VERB: text in each")
        verb = known[0].upper()
        if verb not in self._verbs:
            raise ValueError(foreign.unknown(verb, self._verbs))
        if verb == "FROM":
            raise ValueError("FROM has no meaning in YAML; use targets: of the entry")
        return self._instruction(verb, keys[known[0]][1], keys, step.line)

    def _instruction(self, verb: str, node: Node, keys: Keys, line: int) -> Instruction:
        syntax, pairs, args = self._verbs[verb], None, None
        if isinstance(node, Scalar):
            text = node.text.strip()
        elif isinstance(node, Items):
            args = tuple(item.text for item in node.items if isinstance(item, Scalar))
            if len(args) < len(node.items):
                raise ValueError(f"the list of {verb} has an item that is not a text; expected texts")
            text = json.dumps(args, ensure_ascii=False)
        else:
            pairs = _pairs(verb, node, syntax)
            text = " ".join(f"{key}={_shown(value)}" for key, value in pairs)
        source = f"{verb} {text}".rstrip()
        made = build(verb, "x" if pairs else text, syntax, file=self._file, line=line, form="yaml", source=source)
        from_vars(made.flags, _vars(keys, verb), syntax.flag_table, verb)
        if name := _name(keys):
            from_vars(made.flags, [("name", [name])], syntax.flag_table, verb)
        text = text if pairs else made.text
        args = made.args if args is None else args
        return replace(made, text=text, args=args, pairs=pairs, assign=_texts(keys, "assign"))


def _keys(node: Pairs, what: str) -> Keys:
    """The keys of a mapping, with those of its merge keys (`<<: *base`)."""
    try:
        found = types.with_merged(node)
    except KeyFaultError:
        message = f"{what} has a << that is not a mapping; expected an alias of one"
        raise KeyFaultError(message, node.line) from None
    keys = {}
    for key, value in found:
        if not isinstance(key, Scalar):
            wrong = _QUOTE_IT if node.flow else f"{what} has a key that is not a text; expected a name"
            raise KeyFaultError(wrong, node.line)
        keys[key.text] = (key, value)
    own = [key.text for key, _ in node.pairs if isinstance(key, Scalar) and key.text != "<<"]
    for text in own if len(own) > len(set(own)) else ():
        if own.count(text) > 1:
            raise KeyFaultError(f"{what} has the key {text!r} twice; expected it once", node.line)
    return keys


def _texts(keys: Keys, name: str) -> tuple[str, ...]:
    """The texts of a list, or a single text; () when there is no such key or no value."""
    if name not in keys:
        return ()
    key, node = keys[name]
    if isinstance(node, Scalar):
        return () if node.absent else (node.text,)
    if isinstance(node, Pairs):
        raise KeyFaultError(f"{name} is a mapping; {_list_hint(node)}", key.line)
    for item in node.items:
        if not isinstance(item, Scalar) or item.absent:
            raise KeyFaultError(f"{name} has an item that is not a text; {_list_hint(item)}", key.line)
    return tuple(item.text for item in node.items if isinstance(item, Scalar))


def _list_hint(node: Node) -> str:
    return _QUOTE_IT if _unquoted(node) else "expected a list of texts"


def _unquoted(node: Node) -> bool:
    """Whether the node is made of braces without quotes, which YAML reads as a mapping in a mapping."""
    return isinstance(node, Pairs) and node.flow and any(not isinstance(key, Scalar) for key, _ in node.pairs)


def _name(keys: Keys) -> str:
    node = keys["name"][1] if "name" in keys else None
    if node is not None and not isinstance(node, Scalar):
        raise ValueError("name is not a text; expected one line")
    return node.text if node else ""


def _yes(keys: Keys) -> bool:
    if "async" not in keys:
        return False
    key, node = keys["async"]
    word = node.text.lower() if isinstance(node, Scalar) else ""
    if word not in YES | NO:
        raise KeyFaultError("async is neither true nor false; expected one of them", key.line)
    return word in YES


def _pairs(verb: str, node: Pairs, syntax: Syntax) -> tuple[tuple[str, str], ...]:
    if _unquoted(node):
        raise ValueError(f"a value that begins with {{{{ must be quoted: {verb}: '{{{{ … }}}}'")
    if not syntax.mapping:
        raise ValueError(f"the value of {verb} is a mapping; expected a text or a list of words")
    found = _keys(node, f"the mapping of {verb}")
    try:
        return tuple((key, _as_text(value)) for key, (_, value) in found.items())
    except KeyFaultError as error:
        raise KeyFaultError(f"in the mapping of {verb} {error}", error.line) from None


def _vars(keys: Keys, verb: str) -> list[tuple[str, list[str]]]:
    node = keys["vars"][1] if "vars" in keys else None
    if node is None or (isinstance(node, Scalar) and node.absent):
        return []
    if not isinstance(node, Pairs):
        raise ValueError(f"vars of {verb} is not a mapping; expected flags by name, such as timeout: 30")
    found = _keys(node, f"vars of {verb}")
    return [(key, list(_texts(found, key))) for key in found]


def _as_text(node: Node) -> str:
    """A value of a mapping: as written, lists and mappings as JSON; quotes make it text in templates."""
    if isinstance(node, Scalar):
        return types.Written(node.text) if node.style in ("'", '"') else node.text
    return json.dumps(types.plain(node), ensure_ascii=False)


def _shown(value: str) -> str:
    return value if _WORD.fullmatch(value) else json.dumps(value, ensure_ascii=False)
