"""CACHEFILE: a YAML or JSON mapping on the node becomes ARGs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import LanguageError, VerbError
from director.language.values import plain, typed
from director.scope import RESERVED
from director.verbs.arg import merged
from director.verbs.base import Node, Outcome, Planning, Verb, success
from director.verbs.places import absolute, broken
from director.verbs.reading import whole

if TYPE_CHECKING:
    from director.language.instructions import Instruction

LIMIT = 1 << 20  # bytes of the file


class CacheFile(Verb):
    """CACHEFILE PATH: read a YAML or JSON mapping on the node into the job's ARGs.

    Mappings merge with an ARG of the same name; lists and single values replace it. The file has at most 1 MiB.

        CACHEFILE /etc/app/values.yaml
    """

    name = "CACHEFILE"
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`text`: the path, raw."""
        return whole(instruction, planning)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Its names are declared: the job sets them."""
        path = absolute(node.word(body["text"], body.get("escape", "\\")), node)
        found, quoted = read_mapping(_content(path), path)
        known = node.scope.texts()
        texts = {name: _joined(known.get(name), value) for name, value in found.items()}
        return success(path, arg=texts, declare=list(texts), quoted=quoted)


def read_mapping(text: str, path: str) -> tuple[dict[str, Any], list[str]]:
    """Names with their values, and the names whose value is in quotes.

    A single value is its text as written; lists and mappings are themselves. Raises VerbError with the line.
    """
    from director.language.nodes import Pairs, Scalar, compose

    try:
        root = compose(text, path)
    except LanguageError as error:
        raise VerbError(str(error)) from None
    if root is None:
        return {}, []
    if not isinstance(root, Pairs):
        raise VerbError(f"{path}:{root.line}: not a mapping; expected names with values")
    found: dict[str, Any] = {}
    quoted = []
    for key, value in root.pairs:
        if not isinstance(key, Scalar) or not (key.style or _is_text(key.text)):
            raise VerbError(f"{path}:{key.line}: the key {getattr(key, 'text', '')!r} is not text; quote it")
        if key.text in RESERVED or not key.text:
            raise VerbError(f"{path}:{key.line}: {key.text!r} is no name for an ARG")
        found[key.text] = value.text if isinstance(value, Scalar) else plain(value)
        if isinstance(value, Scalar) and value.style:
            quoted.append(key.text)
    return found, quoted


def _is_text(text: str) -> bool:
    return isinstance(typed(text), str) and text not in ("null", "~")


def _joined(known: str | None, value: Any) -> str:
    if isinstance(value, str):
        return value
    before = typed(known) if known and isinstance(value, dict) else None
    return json.dumps(merged(before, value) if isinstance(before, dict) else value, ensure_ascii=False)


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise broken(path, error) from error
    if len(data) > LIMIT:
        raise VerbError(f"{path}: larger than {LIMIT >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise VerbError(f"{path}: not UTF-8 text") from None
