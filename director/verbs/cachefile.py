"""CACHEFILE: makes ARGs of a YAML or JSON mapping on the node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import LanguageError, VerbError
from director.language.scope import RESERVED
from director.language.types import KeyFaultError, key_of, plain, typed, with_merged
from director.verbs.arg import merged
from director.verbs.arguments import whole
from director.verbs.base import Node, Outcome, Planning, Verb, success
from director.verbs.folders import absolute, broken

if TYPE_CHECKING:
    from director.language.instructions import Instruction
    from director.runtime.yaml_text import Pairs

LIMIT = 1 << 20  # bytes of the file


class CacheFile(Verb):
    """CACHEFILE PATH: read a YAML or JSON mapping on the node into the job's ARGs.

    A mapping is merged with an ARG of the same name; a list or a single value replaces it. All keys are texts, also in
    inner mappings; YAML's merge keys (`<<: *base`) work. The file may have at most 1 MiB.

        CACHEFILE /etc/app/values.yaml
    """

    name = "CACHEFILE"
    sets = "other"
    needs = "a path"
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`text`: the path, raw."""
        return whole(instruction, planning)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Set and declare an ARG for each key."""
        path = absolute(node.word(body["text"], body.get("escape", "\\")), node)
        found, quoted = read_mapping(_content(path), path)
        known = node.scope.texts()
        texts = {name: _joined(known.get(name), value) for name, value in found.items()}
        return success(path, arg=texts, declare=list(texts), quoted=quoted)


def read_mapping(text: str, path: str) -> tuple[dict[str, Any], list[str]]:
    """The values by name, and the names whose value is in quotes.

    A single value is its text as written; lists and mappings are data. Raises VerbError with the line.
    """
    from director.runtime.yaml_text import Pairs, compose

    try:
        root = compose(text, path)
    except LanguageError as error:
        raise VerbError(str(error)) from None
    if root is None:
        return {}, []
    if not isinstance(root, Pairs):
        raise VerbError(f"{path}:{root.line}: not a mapping; expected names with values")
    try:
        return _values(root, path)
    except KeyFaultError as error:
        raise VerbError(f"{path}:{error.line}: {error}") from None


def _values(root: Pairs, path: str) -> tuple[dict[str, Any], list[str]]:
    from director.runtime.yaml_text import Scalar

    found: dict[str, Any] = {}
    quoted: dict[str, bool] = {}
    for key, value in with_merged(root):
        name = key_of(key, text_keys=True)
        if name in RESERVED or not name:
            raise VerbError(f"{path}:{key.line}: {name!r} is no name for an ARG")
        found[name] = value.text if isinstance(value, Scalar) else plain(value, text_keys=True)
        quoted[name] = isinstance(value, Scalar) and bool(value.style)
    return found, [name for name in found if quoted[name]]


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
