"""os.posix_spawn in a loop: own session, two pipes read to their end, the exit waited for; prints spawns a second.

python -m benches.limits.spawn_loop COUNT COMMAND EXPECTED
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time


def once(command: str, environment: dict[bytes, bytes], null: int) -> bytes:
    """Standard output of one command that must succeed."""
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    pid = os.posix_spawn(
        "/bin/sh", ("/bin/sh", "-c", command), environment, setsid=True, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        file_actions=((os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, out_end, 1),
                      (os.POSIX_SPAWN_DUP2, err_end, 2)),
    )  # fmt: skip
    os.close(out_end)
    os.close(err_end)
    got = {out: b"", err: b""}
    poll = select.poll()
    poll.register(out)
    poll.register(err)
    left = 2
    while left:
        for fd, _ in poll.poll():
            data = os.read(fd, 65536)
            got[fd] += data
            if not data:
                poll.unregister(fd)
                left -= 1
    _, status = os.waitpid(pid, 0)
    os.close(out)
    os.close(err)
    if status or got[err]:
        raise SystemExit(f"the command failed: {status} {got[err]!r}")
    return got[out]


def main() -> None:
    """Spawn and print."""
    count, command, expected = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode()
    environment, null = dict(os.environb), os.open(os.devnull, os.O_RDWR)
    began = time.perf_counter()
    for _ in range(count):
        if once(command, environment, null) != expected:
            raise SystemExit("the command printed something else")
    print(count / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
