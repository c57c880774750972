"""`RUN --mount=type=secret`: a secret as a variable of the command, or as a file in memory, while the step runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from director.errors import VerbError
from director.runtime.memory_folders import PREFIX
from director.transfer.safe_write import Folder, Walk, broken
from director.verbs.folders import absolute
from director.verbs.interface import Node, Planning

FOLDER = "/run/secrets"  # of a secret without a target, as in containers
MODE = 0o400


def parse(pairs: Mapping[str, str], planning: Planning) -> dict[str, Any]:
    """`id`, and `env` or a `target` with its `mode`, of a mount; notes the secret. Raises LanguageError."""
    known = ("type", "id", "env", "target", "dst", "destination", "required", "mode", "uid", "gid")
    target = pairs.get("target") or pairs.get("dst") or pairs.get("destination") or ""
    name = pairs.get("id") or os.path.basename(target)
    if unknown := [key for key in pairs if key not in known]:
        raise planning.fail(
            f"--mount=type=secret: {unknown[0]} is not known; expected id=NAME,env=VARIABLE or target=PATH"
        )
    if not name:
        raise planning.fail("--mount=type=secret needs a name; expected id=NAME")
    if pairs.get("required", "true") not in ("true", "1", ""):
        raise planning.fail("--mount=type=secret: a secret that a step names is always required; expected no required")
    if planning.flags.get("no-block"):
        raise planning.fail("--no-block goes on when the step has ended, and secrets do not; expected one of them")
    if {"uid", "gid"} & pairs.keys():
        planning.note("--mount=type=secret: uid and gid have no effect: the file belongs to the user of the command")
    planning.secret(name)
    if "env" in pairs and not target:
        if not pairs["env"].isidentifier():
            raise planning.fail(f"--mount=type=secret: env={pairs['env']} is no name of a variable")
        return {"id": name, "env": pairs["env"]}
    mode = pairs.get("mode", f"{MODE:o}")
    if not mode or mode.strip("01234567"):
        raise planning.fail(f"--mount: mode={mode} is not octal; expected something like mode=0400")
    row: dict[str, Any] = {"id": name, "target": target or f"{FOLDER}/{name}", "mode": int(mode, 8) & 0o777}
    return {**row, "env": pairs["env"]} if "env" in pairs else row


@contextmanager
def mounted(mounts: Sequence[Mapping[str, Any]], user: str | None, node: Node) -> Iterator[dict[str, str]]:
    """The variables for the command; the files are there until the end of the context. Raises VerbError."""
    env: dict[str, str] = {}
    paths = {absolute(mount["target"], node).rstrip("/") for mount in mounts if "target" in mount}
    with ExitStack() as stack:
        for path in sorted(paths):  # each once and in one order, or tasks would wait for each other
            stack.enter_context(node.exclusive(f"secret {path}"))
        for mount in mounts:
            value = node.secret(mount["id"])
            if "env" in mount:
                env[mount["env"]] = _as_variable(mount["id"], value)
            if "target" in mount:
                path = absolute(mount["target"], node).rstrip("/")
                stack.enter_context(_file(path, value, mount["mode"], user or node.scope.user, node))
        yield env


def _as_variable(name: str, value: bytes) -> str:
    """The value without the line breaks at its end. Raises VerbError."""
    if b"\0" in value:
        raise VerbError(f"the secret {name} has a NUL byte, which no variable can have; use target=PATH")
    return os.fsdecode(value.rstrip(b"\r\n"))


@contextmanager
def _file(path: str, value: bytes, mode: int, user: str, node: Node) -> Iterator[None]:
    """A file in memory for one user, with a link to it at `path`: so nothing is written to a disk, wherever that is."""
    uid, gid = node.identity(user) if user else (-1, -1)
    with node.memory_file(value, mode, uid, gid) as file, _linked(path, file):
        yield


@contextmanager
def _linked(path: str, file: str) -> Iterator[None]:
    """A link where nothing is but one that an earlier client left. Raises VerbError."""
    above, name = os.path.split(path)
    with Walk() as walk:
        folder = walk.open(above)
        try:
            if _is_left(folder, name):
                os.unlink(name, dir_fd=folder.fd)
            os.symlink(file, name, dir_fd=folder.fd)
        except FileExistsError:
            raise VerbError(f"{path} exists already; expected another target for the secret") from None
        except OSError as error:
            raise broken(path, error) from error
        try:
            yield
        finally:
            with suppress(OSError):
                if folder.target(name) == file:
                    os.unlink(name, dir_fd=folder.fd)


def _is_left(folder: Folder, name: str) -> bool:
    """Whether it is a link of ours to a file that is gone."""
    try:
        target = folder.target(name)
    except OSError:  # it is missing, or no link
        return False
    return f"/{PREFIX}" in target and not os.path.exists(target)
