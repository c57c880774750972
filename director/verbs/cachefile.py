"""CACHEFILE: a YAML or JSON mapping on the node becomes ARGs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.scope import RESERVED
from director.verbs.arg import merged
from director.verbs.base import Node, Outcome, Planning, Verb, success
from director.verbs.places import absolute, broken
from director.verbs.reading import whole

if TYPE_CHECKING:
    import yaml

    from director.language.instructions import Instruction

LIMIT = 1 << 20  # bytes of the file
_ALIASES = 100  # references to anchors; more only make a small file a huge value
_TEXT = "tag:yaml.org,2002:str"


class CacheFile(Verb):
    """CACHEFILE PATH: read a YAML or JSON mapping on the node into the job's ARGs.

    Mappings merge with an ARG of the same name; lists and single values replace it. The file has at most 1 MiB.

        CACHEFILE /etc/app/values.yaml
    """

    name = "CACHEFILE"
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`text`: the path, raw."""
        return whole(instruction, planning)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Its names are declared: the job sets them."""
        path = absolute(node.word(body["text"], body.get("escape", "\\")), node)
        found = read_mapping(_content(path), path)
        known = node.scope.texts()
        texts = {name: _joined(known.get(name), value) for name, value in found.items()}
        return success(path, arg=texts, declare=list(texts))


def read_mapping(text: str, path: str) -> dict[str, Any]:
    """Name to text for single values (as written), to lists and mappings for those. Raises VerbError with the line."""
    import yaml

    try:
        if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)) > _ALIASES:
            raise VerbError(f"{path}: more than {_ALIASES} references to anchors")
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            return {} if root is None else _mapping(root, loader, path)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise VerbError(
            f"{path}{_place(error)}: not YAML or JSON: {getattr(error, 'problem', None) or error}"
        ) from None
    except RecursionError:
        raise VerbError(f"{path}: nested too deeply") from None


def _mapping(root: yaml.Node, loader: yaml.SafeLoader, path: str) -> dict[str, Any]:
    import yaml

    if not isinstance(root, yaml.MappingNode):
        raise VerbError(f"{path}:{root.start_mark.line + 1}: not a mapping; expected names with values")
    loader.flatten_mapping(root)
    found: dict[str, Any] = {}
    for key, value in root.value:
        if key.tag != _TEXT:
            raise VerbError(
                f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is not text; put quotes around it"
            )
        if key.value in RESERVED or not key.value:
            raise VerbError(f"{path}:{key.start_mark.line + 1}: {key.value!r} is no name for an ARG")
        scalar = isinstance(value, yaml.ScalarNode)
        found[key.value] = value.value if scalar else loader.construct_object(value, deep=True)
    return found


def _joined(known: str | None, value: Any) -> str:
    if isinstance(value, str):
        return value
    import json

    if isinstance(value, dict) and known:
        from director.language.values import typed

        before = typed(known)
        value = merged(before, value) if isinstance(before, dict) else value
    return json.dumps(value, ensure_ascii=False, default=str)


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


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""
