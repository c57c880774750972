"""The environment of the processes that steps run: the client's own, or the little of it that other users get."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping

from director.language.scope import Scope, is_proxy
from director.runtime import service_manager

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHARED = re.compile(rb"PATH|LANG|LC_[A-Z]+|TZ|TERM|HOME|USER|DIRECTOR_NODE")


def client_environment(name: str) -> dict[bytes, bytes]:
    """What processes of the client's own user begin with, on the node of this name."""
    home, user = home_of(os.geteuid())
    usual = {b"HOME": os.fsencode(home), b"USER": os.fsencode(user), b"PATH": PATH}
    left_out = {variable.encode() for variable in service_manager.VARIABLES}
    given = {k: v for k, v in os.environb.items() if not k.startswith(b"DIRECTOR_") and k not in left_out}
    return {**usual, **given, b"DIRECTOR_NODE": name.encode()}


def shared(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """What of the client's environment the commands of other users get."""
    return {name: text for name, text in env.items() if _SHARED.fullmatch(name) or is_proxy(os.fsdecode(name))}


def for_task(env: Mapping[bytes, bytes], job: str, scope: Scope, other: bool) -> dict[bytes, bytes]:
    """The environment of a RUN, made again only when a value of the scope has changed.

    Args:
        other: it is of another user than the client's.
    """
    if scope.made is not None and scope.made[:2] == (scope.version, other):
        known: dict[bytes, bytes] = scope.made[2]
        return known
    texts = {name: text for name, text in scope.dollars().items() if SHELL_NAME.fullmatch(name)}
    made = {**(shared(env) if other else env), b"DIRECTOR_JOB": job.encode()}
    made.update((os.fsencode(name), os.fsencode(text.replace("\0", ""))) for name, text in texts.items())
    scope.made = (scope.version, other, made)
    return made


def home_of(uid: int) -> tuple[str, str]:
    """Home folder and name of a user."""
    try:
        entry = pwd.getpwuid(uid)
        return entry.pw_dir, entry.pw_name
    except KeyError:
        return "/", str(uid)
