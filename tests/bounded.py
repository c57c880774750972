"""A hard bound for tests that exhaust processes, and a watchdog outside of it.

Tasks of a bounded client run as a user that nobody else is, who may have so many processes and no more. The watchdog
is a process of its own: it ends all of that user, also when the test cannot.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FIRST_USER = 3_000_000  # above what machines give to people and services

WATCHDOG = """
import os, sys, time
import select
user, seconds = int(sys.argv[1]), float(sys.argv[2])
select.select([0], [], [], seconds)  # until the test says that it is over, by closing the pipe
if os.fork() == 0:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    os.kill(-1, 9)  # all that this user may end, in one call
"""


@contextmanager
def own_user(pid: int, most: int, seconds: float = 240.0) -> Iterator[dict[str, Any]]:
    """The fields of a spec for a user of its own; what the process `pid` starts for it is at most `most` processes.

    Whatever of it lives at the end, or after so many seconds, is killed. Only root can.
    """
    user = FIRST_USER + os.getpid()
    resource.prlimit(pid, resource.RLIMIT_NPROC, (most, most))
    assert resource.prlimit(pid, resource.RLIMIT_NPROC)[1] == most
    command = [sys.executable, "-I", "-S", "-c", WATCHDOG, str(user), str(seconds)]
    watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield {"uid": user, "gid": user, "groups": [user]}
    finally:
        assert watchdog.stdin
        watchdog.stdin.close()
        watchdog.wait(120)


def processes_of(user: int) -> list[int]:
    """Those of this user that have not ended."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as file:
                fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
        except OSError:
            continue
        if int(fields["Uid"].split()[0]) == user and fields["State"][0] not in "ZX":
            found.append(int(name))
    return found
