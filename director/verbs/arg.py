"""ARG: sets values of the job, which the node also remembers for later jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.language.scope import RESERVED, Scope
from director.verbs.arguments import pairs, plain_names
from director.verbs.base import EXTEND, Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction

_MACHINES = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "arm64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}  # all others have the same name in both


class Arg(Verb):
    """ARG NAME[=VALUE]…: set or declare values of the job; the node remembers them for 12 hours.

    Templates can use them; in the steps that follow, `$NAME` and the environment of RUN have them too.
    `--arg NAME=VALUE` beats the file, which beats a remembered value; an ENV of the same name beats them all.
    `ARG NAME` alone takes the value of `--arg`, else the remembered one, else none. In templates a value that is JSON,
    a number, `true` or `false` has that type.

        ARG VERSION=1.4.2
        ARG PORTS=[80,443]
        ECHO {{ VERSION }} on {{ PORTS | length }} ports

    `TARGETPLATFORM`, `TARGETOS`, `TARGETARCH` and `TARGETVARIANT` are set from the node once they are declared.
    """

    name = "ARG"
    mapping = True
    sets = "arg"
    needs = "NAME or NAME=VALUE"
    flags = (EXTEND,)
    owned = frozenset(("extend-args",))
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`pairs` [[name, value or None]], and `extend` with --extend-args."""
        body = pairs(instruction, planning)
        for name, _ in body["pairs"]:
            if name in RESERVED:
                raise planning.fail(f"{name} is no name for an ARG: templates know it already")
        return body

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Declare all names, and set those that have a value."""
        scope, escape = node.scope, body.get("escape", "\\")
        texts: dict[str, str] = {}
        names, settled = [], []
        for raw_name, raw in body["pairs"]:
            name = node.word(raw_name, escape)
            if name in RESERVED:
                raise VerbError(f"{name} is no name for an ARG: templates know it already")
            value = None if raw is None else node.word(raw, escape)
            names.append(name)
            if body.get("extend") and value is not None:
                texts[name] = extended(scope, name, value)
                settled.append(name)
            elif (chosen := _chosen(scope, name, value, node)) is not None:
                texts[name] = chosen
        quoted = [name for name in plain_names(body, node) if name not in scope.overrides]
        effects: dict[str, Any] = {"declare": names, "arg": texts, "settled": settled, "quoted": quoted}
        return success(**{kind: value for kind, value in effects.items() if value})


def _chosen(scope: Scope, name: str, value: str | None, node: Node) -> str | None:
    if name in scope.overrides:
        return scope.overrides[name]
    if value is not None:
        return value
    if name.startswith("TARGET"):
        platform = platform_of(node.facts)
        if name in platform:
            return platform[name]
    return scope.args.get(name, scope.remembered.get(name))


def platform_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """`TARGETPLATFORM` and its parts for a node with these facts, as containers name platforms."""
    machine = str(facts.get("arch", ""))
    arch, variant = _MACHINES.get(machine, (machine, ""))
    whole = "/".join(part for part in ("linux", arch, variant) if part)
    return {"TARGETPLATFORM": whole, "TARGETOS": "linux", "TARGETARCH": arch, "TARGETVARIANT": variant}


def extended(scope: Scope, name: str, value: str) -> str:
    """The value with `--extend-args`: the earlier value, then the file's, then that of `--arg`, joined."""
    earlier = scope.args.get(name, scope.remembered.get(name))
    for later in filter(None, (value, scope.overrides.get(name))):
        earlier = later if earlier is None else join(earlier, later)
    return value if earlier is None else earlier


def join(old: str, new: str) -> str:
    """Two values as one: lists are appended, mappings merged in depth, anything else is replaced by the new."""
    from director.language.types import typed

    first, second = typed(old), typed(new)
    if isinstance(first, list) and isinstance(second, list):
        return _json(first + second)
    if isinstance(first, dict) and isinstance(second, dict):
        return _json(merged(first, second))
    return new


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merge, lists and scalars replace."""
    result = dict(old)
    for name, value in new.items():
        before = result.get(name)
        result[name] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
