"""Reads who has which role from the key `roles` of the settings files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from director.config.parser import open_file
from director.errors import UsageError
from director.runtime.yaml_text import Items, Node, Pairs, Scalar, compose

ROLES = ("viewer", "operator", "enroller", "admin")
_WHO = re.compile(r"@?[^\s@,:]([^\n,:]*[^\s,:])?")  # ann, @wheel, ann@example.com, "@domain users"
_EXPECTED = "expected a list of users and @groups, or a mapping of them to their nodes"


@dataclass(frozen=True, slots=True)
class Grant:
    """One role of a user or a group.

    Attributes:
        role: one of `ROLES`.
        who: the name of a user, or `@` and that of a group.
        scope: an expression of the nodes that it is for; None for all of them.
        place: `FILE:LINE` where it is written.
    """

    role: str
    who: str
    scope: str | None
    place: str


def read_roles(files: Sequence[str]) -> tuple[Grant, ...] | None:
    """The grants of the last of these files that has roles; None when none has.

    Raises:
        UsageError: a file cannot be read, or its roles are malformed; with the line.
    """
    found = None
    for path in files:
        with open_file(path) as file:
            try:
                root = compose(file.read(), path)
            except UnicodeDecodeError as error:
                raise UsageError(f"{path}: not UTF-8 text") from error
        for key, value in root.pairs if isinstance(root, Pairs) else ():
            if isinstance(key, Scalar) and key.text == "roles":
                found = tuple(_grants(value, path))
                if not found:
                    raise UsageError(f"{path}:{value.line}: roles gives nobody a role; expected ROLE: [USER, @GROUP]")
    return found


def _grants(node: Node, path: str) -> Iterator[Grant]:
    for role, value in _pairs(node, path, f"roles is no mapping; expected lines such as {ROLES[0]}: ['@noc']"):
        if role.text not in ROLES:
            raise UsageError(f"{path}:{role.line}: {role.text} is no role; expected {', '.join(ROLES)}")
        if isinstance(value, Pairs) and role.text == ROLES[-1]:
            raise UsageError(f"{path}:{value.line}: an admin has all nodes; expected a list of users and @groups")
        yield from _of_role(role.text, value, path)


def _of_role(role: str, node: Node, path: str) -> Iterator[Grant]:
    if isinstance(node, Pairs):
        for who, scopes in _pairs(node, path, ""):
            for scope in _texts(scopes, path, f"the nodes of {who.text} are no text; expected names, globs or labels"):
                yield _grant(role, who, scope.text.strip(), path)
    else:
        for who in _texts(node, path, f"{role} has a wrong value; {_EXPECTED}"):
            yield _grant(role, who, None, path)


def _grant(role: str, who: Scalar, scope: str | None, path: str) -> Grant:
    if not _WHO.fullmatch(who.text):
        raise UsageError(f"{path}:{who.line}: {who.text!r} names nobody; expected a user, or @ and a group")
    return Grant(role, who.text, None if scope == "all" else scope, f"{path}:{who.line}")


def _pairs(node: Node, path: str, wrong: str) -> Iterator[tuple[Scalar, Node]]:
    """The pairs of a mapping whose keys are texts, none of them twice."""
    if not isinstance(node, Pairs):
        raise UsageError(f"{path}:{node.line}: {wrong}")
    seen = set()
    for key, value in node.pairs:
        if not isinstance(key, Scalar) or key.absent or key.text in seen:
            raise UsageError(f"{path}:{key.line}: a key below roles is no text, or there twice; expected each once")
        seen.add(key.text)
        yield key, value


def _texts(node: Node, path: str, wrong: str) -> list[Scalar]:
    """A text, or the texts of a list."""
    nodes = node.items if isinstance(node, Items) else [node]
    texts = [one for one in nodes if isinstance(one, Scalar) and one.text.strip()]
    if len(texts) < len(nodes):
        raise UsageError(f"{path}:{node.line}: {wrong}")
    return texts
