"""A small client process for tests of the runner: patched as the real one, it answers each request with a JSON line."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any


def main() -> None:
    """Patch first, then serve until the input ends."""
    from gevent import monkey

    monkey.patch_all(os=False, signal=False, subprocess=False)
    from director import process

    process.seal_descriptors()
    process.become_subreaper()
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    for line in iter(requests.readline, b""):
        name, arguments = json.loads(line)
        answers.write(json.dumps(OPERATIONS[name](*arguments)).encode() + b"\n")


def spec(fields: dict[str, Any]) -> Any:
    """A Spec of JSON; text for bytes."""
    from director.process import Spec

    fields.setdefault("env", {"PATH": os.defpath})
    fields["env"] = {os.fsencode(name): os.fsencode(value) for name, value in fields["env"].items()}
    fields["stdin"] = os.fsencode(fields.get("stdin", ""))
    return Spec(**fields)


def plain(result: Any) -> dict[str, Any]:
    """A Result as JSON, the outputs in base64."""
    fields = {name: getattr(result, name) for name in result.__slots__}
    return {name: base64.b64encode(x).decode() if isinstance(x, bytes) else x for name, x in fields.items()}


def run(*specs: dict[str, Any]) -> list[Any]:
    """Run all at once."""
    import gevent

    from director import process

    greenlets = [gevent.spawn(process.run, spec(one)) for one in specs]
    gevent.joinall(greenlets)
    return [plain(one.get()) for one in greenlets]


def again(times: int, fields: dict[str, Any]) -> list[int]:
    """Run one after another; the descriptors open before and after."""
    from director import process

    before = len(os.listdir("/proc/self/fd"))
    one = spec(fields)
    for _ in range(times):
        assert process.run(one).exit_code == 0
    return [before, len(os.listdir("/proc/self/fd"))]


def cancel_early(fields: dict[str, Any]) -> dict[str, Any]:
    """Cancel before the start."""
    from director import process

    handle = process.Handle()
    process.cancel(handle)
    return plain(process.run(spec(fields), handle))


def cancel_at(fields: dict[str, Any], path: str) -> dict[str, Any]:
    """Cancel when the step has made the file `path`."""
    import gevent

    from director import process

    handle = process.Handle()
    greenlet = gevent.spawn(process.run, spec(fields), handle)
    while not os.path.exists(path):
        gevent.sleep(0.005)
    process.cancel(handle)
    return plain(greenlet.get())


def kill_at(fields: dict[str, Any], path: str) -> bool:
    """Kill the greenlet when the step has made the file `path`; whether it ended by that."""
    import gevent

    from director import process

    greenlet = gevent.spawn(process.run, spec(fields))
    while not os.path.exists(path):
        gevent.sleep(0.005)
    greenlet.kill()
    return isinstance(greenlet.value, gevent.GreenletExit)


def kill_twice(fields: dict[str, Any], path: str) -> float:
    """Kill the greenlet when the step has made `path`, and again before the grace is over; seconds it took."""
    import time

    import gevent

    from director import process

    greenlet = gevent.spawn(process.run, spec(fields))
    while not os.path.exists(path):
        gevent.sleep(0.005)
    begin = time.monotonic()
    greenlet.kill(block=False)
    gevent.sleep(0.05)
    greenlet.kill()
    return time.monotonic() - begin


def children() -> list[int]:
    """Children of this process, after it waited for those that have ended."""
    from director import process

    process.reap_adopted()
    with open("/proc/thread-self/children") as file:
        return [int(word) for word in file.read().split()]


def pause(seconds: float) -> None:
    """Let the hub run."""
    import gevent

    gevent.sleep(seconds)


def end_leftovers(*tokens: str) -> int:
    """As in the real client."""
    from director import process

    return process.end_leftovers(tokens, grace=0.5)


def enter_cgroup(note: str, name: str, end: bool = False) -> list[Any]:
    """Enter the cgroup as a starting client does: leftovers ended before, whether it entered, its cgroup now."""
    from director import process

    process.CGROUP.open(note, name)
    ended = process.end_leftovers((), grace=0.5, inside=process.CGROUP.left) if end else 0
    entered = process.CGROUP.enter()
    return [ended, entered, own_cgroup()]


def leave_cgroup() -> str:
    """Leave the cgroup as an ending client does; its cgroup now."""
    from director import process

    process.CGROUP.leave()
    return own_cgroup()


def own_cgroup() -> str:
    """The path of this process in cgroup v2, "" where there is none."""
    with open("/proc/self/cgroup") as lines:
        return next((line[3:].strip() for line in lines if line.startswith("0::")), "")


def no_loose(path: str) -> bool:
    """Make the cgroup of `--no-block` unusable; whether the next such process makes the client give its cgroup up."""
    from director import process
    from director.process import cgroup

    cgroup.LOOSE = path
    process.run(spec({"argv": ["true"], "detach": True}))
    return not process.CGROUP._folder


def turns_while_reaping() -> list[int]:
    """Orphans before and after one call of `reap_adopted`, and how often other greenlets ran during it."""
    import gevent

    from director import process
    from director.process import descendants
    from director.process.descendants import DESCENDANTS
    from director.runtime.greenlets import Pace

    descendants.Pace = lambda: Pace(0.0001)  # so that a fast machine needs several slices too

    before, turns = len(DESCENDANTS.orphans()), 0

    def other() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.001)
            turns += 1

    greenlet = gevent.spawn(other)
    gevent.sleep(0.01)
    turns = 0
    process.reap_adopted()
    ran = turns
    greenlet.kill()
    return [before, len(DESCENDANTS.orphans()), ran]


def children_list() -> list[int]:
    """Children that are not leaders, dead or alive, without waiting for any."""
    from director.process.descendants import DESCENDANTS

    return DESCENDANTS.orphans()


def old_kernel(old: bool) -> None:
    """Do without pidfds and without being a subreaper, or with them again."""
    import ctypes

    from director.process import descendants, runner

    ctypes.CDLL(None).prctl(descendants.PR_SET_CHILD_SUBREAPER, 0 if old else 1, 0, 0, 0)
    descendants.DESCENDANTS.adopts = not old
    runner._pidfd = (lambda pid: -1) if old else os.pidfd_open


OPERATIONS = {
    one.__name__: one
    for one in (
        run,
        again,
        cancel_early,
        cancel_at,
        kill_at,
        kill_twice,
        children,
        pause,
        end_leftovers,
        enter_cgroup,
        leave_cgroup,
        no_loose,
        turns_while_reaping,
        children_list,
        old_kernel,
    )
}

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
