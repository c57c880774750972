"""Runs a script with the interpreter of its `#!` line, from a private file that is removed afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

from director.errors import VerbError
from director.transfer.blobs import write_all
from director.verbs.base import Node, Outcome

# for a detached script, which must remove its file itself
_AND_REMOVE = 'f=$1; shift; "$@" "$f"; s=$?; rm -f -- "$f"; exit $s'


def run_script(body: Mapping[str, Any], user: str | None, detach: bool, node: Node) -> Outcome:
    """Run `body["script"]` with the interpreter of its first line; the file needs no right to be executed.

    Raises VerbError when the line names no interpreter.
    """
    text = node.text(body["script"]) if body["render"] else body["script"]
    interpreter = text.partition("\n")[0][2:].strip().split(None, 1)
    if not interpreter:
        raise VerbError("the script's #! line names no interpreter")
    path = _private_file(text, user or node.scope.user, node)
    started = False
    try:
        if detach:
            started = True
            return node.run(["/bin/sh", "-c", _AND_REMOVE, "sh", path, *interpreter], user=user, detach=True)
        return node.run([*interpreter, path], user=user)
    finally:
        if not started:
            os.unlink(path)


def _private_file(text: str, user: str, node: Node) -> str:
    fd, path = tempfile.mkstemp(prefix="director-run-")
    try:
        write_all(fd, text.encode("utf-8", "surrogateescape"))
        if user:
            os.fchown(fd, *node.identity(user))
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
    return path
