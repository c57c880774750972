"""ARG, ENV and CACHEFILE set values of the job, LABEL sets labels of the node."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from director import labels
from director.errors import LanguageError, VerbError
from director.language.instructions import Instruction
from director.language.origin import made_of
from director.language.scope import RESERVED, Scope
from director.language.types import KeyFaultError, key_of, plain, typed, with_merged
from director.transfer.safe_write import broken
from director.verbs.arguments import PAIRS, TEXT, escape_of, plain_names, rendered, rendered_pairs
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, cached, success
from director.verbs.folders import absolute

if TYPE_CHECKING:
    from director.runtime.yaml_text import Pairs

EXTEND = Flag("extend-args", "bool", "append to lists and merge mappings instead of replacing them", default=False)
LIMIT = 1 << 20  # bytes of the file
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm/v7",
    "armv6l": "arm/v6",
    "armv5tel": "arm/v5",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
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

    With `--secret` the names have no value yet: a later step gives them one with `--stdout-arg`. It stays in the
    client's memory for the rest of the job, is masked in outputs, is not remembered, and no QUERY gets it. Such a step
    is never cached.

        ARG --secret TOKEN
        RUN --stdout-arg TOKEN vault login -token-only
        RUN echo "Authorization: Bearer $TOKEN" | curl -sf -H @- https://example.com/

    `TARGETPLATFORM`, `TARGETOS`, `TARGETARCH` and `TARGETVARIANT` are set from the node once they are declared.
    """

    name = "ARG"
    argument = PAIRS
    mapping = True
    sets = "arg"
    needs = "NAME or NAME=VALUE"
    flags = (EXTEND, Flag("secret", "bool", "the values that steps give these names are secret", default=False))
    owned = frozenset(("extend-args", "secret"))
    looks = True
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`pairs` [[name, value or None]], and `extend` or `secret` with the flag of that name."""
        body = super().parse(instruction, planning)
        for name, value in body["pairs"]:
            _check_name(name, planning.fail)
            if planning.flags.get("secret") and value is not None:
                raise planning.fail(
                    f"ARG --secret {name}=…: the text of a job is kept in clear; expected a name alone, which a step "
                    f"with --stdout-arg {name} sets, or --secret id={name},src=FILE for a secret that you have"
                )
        return {**body, "secret": True} if planning.flags.get("secret") else body

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Declare all names, and set those that have a value."""
        scope, escape = node.scope, escape_of(body)
        if body.get("secret"):
            declared = [node.word(raw_name, escape) for raw_name, _ in body["pairs"]]
            return success(declare=declared, secret=declared)
        texts: dict[str, str] = {}
        names, settled = [], []
        for raw_name, raw in body["pairs"]:
            name = node.word(raw_name, escape)
            _check_name(name, VerbError)
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


class Env(Verb):
    """ENV NAME=VALUE…: set environment variables for the rest of the job on the node.

    Templates, `$NAME` and the environment of RUN have them; they beat an ARG of the same name.
    A value cannot use another one of the same instruction.

        ENV LANG=C.UTF-8 GREETING="good morning"
        ENV MESSAGE all of this line
    """

    name = "ENV"
    argument = PAIRS
    mapping = True
    sets = "env"
    needs = "KEY=VALUE"
    flags = (EXTEND,)
    owned = frozenset(("extend-args",))
    looks = True
    pure = True
    always = True

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Render all values, then set them."""
        values = rendered_pairs(body, node)
        if body.get("extend"):
            earlier = node.scope.env
            values = {n: join(earlier[n], value) if n in earlier else value for n, value in values.items()}
        effects: dict[str, Any] = {"env": values, "quoted": plain_names(body, node)}
        return success(**{kind: value for kind, value in effects.items() if value})


class Label(Verb):
    """LABEL NAME=VALUE…: set labels of the node; `NAME=` removes one.

        LABEL tier=web rack="A 12"

    The server keeps them, and targets can name them: `director --target label:tier=web --exec 'RUN uptime'`.
    It records what the plan says, when the step has succeeded on the node. So names and values may use ARGs that the
    file or `--arg` sets, `node.id`, and `node.labels` as they are when the job is planned, but nothing that a node
    says: for that there are `director --label-node`, and targets such as `fact:os.id=debian`.
    """

    name = "LABEL"
    argument = PAIRS
    mapping = True
    needs = "KEY=VALUE"
    compares = True
    pure = True
    always = True

    def labels(self, body: Mapping[str, Any], planning: Planning) -> dict[str, str]:
        """What the server records."""
        escape = escape_of(body)
        found = {planning.fixed(name, escape): planning.fixed(value, escape) for name, value in body["pairs"]}
        if "" in found:
            raise planning.fail("a name came out empty")
        if why := labels.excess(labels.changed({}, found)):
            raise planning.fail(f"the node would have {why}")
        return found

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Cached when the node has them already; what it sets here is for the later steps of the job."""
        wanted = rendered_pairs(body, node)
        known = labels.changed(node.labels, wanted)
        if why := labels.excess(known):
            raise VerbError(f"the node would have {why}")
        return (cached if known == node.labels else success)(labels=wanted)


class CacheFile(Verb):
    """CACHEFILE PATH: read a YAML or JSON mapping on the node into the job's ARGs.

    A mapping is merged with an ARG of the same name; a list or a single value replaces it. All keys are texts, also in
    inner mappings; YAML's merge keys (`<<: *base`) work. The file may have at most 1 MiB.

        CACHEFILE /etc/app/values.yaml
    """

    name = "CACHEFILE"
    argument = TEXT
    sets = "other"
    needs = "a path"
    looks = True
    pure = True
    always = True

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Set and declare an ARG for each key."""
        path = absolute(rendered(body, "text", node), node)
        found, quoted = read_mapping(_content(path), path)
        known = node.scope.texts()
        texts = {name: _joined(known.get(name), value) for name, value in found.items()}
        return success(path, arg=texts, declare=list(texts), quoted=quoted)


def _check_name(name: str, fail: Callable[[str], Exception]) -> None:
    if name in RESERVED:
        raise fail(f"{name} is no name for an ARG: templates know it already")


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
    name = _MACHINES.get(machine, machine)
    arch, _, variant = name.partition("/")
    whole = f"linux/{name}" if name else "linux"
    return {"TARGETPLATFORM": whole, "TARGETOS": "linux", "TARGETARCH": arch, "TARGETVARIANT": variant}


def extended(scope: Scope, name: str, value: str) -> str:
    """The value with `--extend-args`: the earlier value, then the file's, then that of `--arg`, joined."""
    earlier = scope.args.get(name, scope.remembered.get(name))
    for later in filter(None, (value, scope.overrides.get(name))):
        earlier = later if earlier is None else join(earlier, later)
    return value if earlier is None else earlier


def join(old: str, new: str) -> str:
    """Two values as one: lists are appended, mappings merged in depth, anything else is replaced by the new."""
    first, second = typed(old), typed(new)
    if isinstance(first, list) and isinstance(second, list):
        return made_of(_document(first + second), old, new)
    if isinstance(first, dict) and isinstance(second, dict):
        return made_of(_document(merged(first, second)), old, new)
    return new


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merge, lists and scalars replace."""
    result = dict(old)
    for name, value in new.items():
        before = result.get(name)
        result[name] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _document(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_mapping(text: str, path: str) -> tuple[dict[str, Any], list[str]]:
    """The values by name, and the names whose value is in quotes.

    A single value is its text as written; lists and mappings are data. Raises VerbError with the line.
    """
    from director.runtime.yaml_text import Pairs, compose

    try:
        root = compose(text, path)
        if root is None:
            return {}, []
        if not isinstance(root, Pairs):
            raise VerbError(f"{path}:{root.line}: not a mapping; expected names with values")
        return _values(root)
    except LanguageError as error:
        raise VerbError(str(error)) from None
    except KeyFaultError as error:
        raise VerbError(f"{path}:{error.line}: {error}") from None


def _values(root: Pairs) -> tuple[dict[str, Any], list[str]]:
    from director.runtime.yaml_text import Scalar

    found: dict[str, Any] = {}
    quoted: dict[str, bool] = {}
    for key, value in with_merged(root):
        name = key_of(key, text_keys=True)
        if name in RESERVED or not name:
            raise KeyFaultError(f"{name!r} is no name for an ARG", key.line)
        found[name] = value.text if isinstance(value, Scalar) else plain(value, text_keys=True)
        quoted[name] = isinstance(value, Scalar) and bool(value.style)
    return found, [name for name in found if quoted[name]]


def _joined(known: str | None, value: Any) -> str:
    if isinstance(value, str):
        return value
    before = typed(known) if known and isinstance(value, dict) else None
    return made_of(_document(merged(before, value)), known) if isinstance(before, dict) else _document(value)


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
