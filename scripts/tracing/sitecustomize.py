"""Counts calls between modules of director in this process; Python imports it at start through PYTHONPATH.

SIGUSR1 starts the count (`DIRECTOR_COUNT_FROM_START=1`: it starts at once), SIGUSR2 or the end of the process
writes it to `$DIRECTOR_COUNT_FOLDER/PID.json`: `{"argv": [word], "modules": [name], "calls": {"a -> b": count}}`.
"""

import json
import os
import signal
import sys
from collections import Counter

FOLDER = os.environ.get("DIRECTOR_COUNT_FOLDER", "")
modules: "set[str]" = set()
calls: "Counter[tuple[str, str]]" = Counter()


def profile(frame, event, argument):
    """Count one call, when it goes from one module of director to another."""
    if event != "call":
        return
    name = frame.f_globals.get("__name__", "")
    if not name.startswith("director"):
        return
    if frame.f_code.co_name == "<module>":  # an import is not a call
        return
    modules.add(name)
    caller = frame.f_back
    while caller is not None:
        origin = caller.f_globals.get("__name__", "")
        if origin.startswith("director"):
            if origin != name:
                calls[origin, name] += 1
            return
        caller = caller.f_back


def start(*_):
    """Count from now on, in every greenlet and thread."""
    import threading

    threading.setprofile(profile)
    sys.setprofile(profile)
    if "greenlet" in sys.modules:
        # the interpreter keeps the profile function for each greenlet: set it whenever one is switched to
        sys.modules["greenlet"].settrace(lambda event, arguments: sys.setprofile(profile))


def write(*_):
    """Write what was counted so far."""
    sys.setprofile(None)
    path = os.path.join(FOLDER, f"{os.getpid()}.json")
    found = {f"{a} -> {b}": count for (a, b), count in list(calls.items())}
    with open(path + ".part", "w") as file:
        json.dump({"argv": sys.argv, "modules": sorted(modules), "calls": found}, file)
    os.rename(path + ".part", path)


if FOLDER:
    signal.signal(signal.SIGUSR1, start)
    signal.signal(signal.SIGUSR2, write)
    if os.environ.get("DIRECTOR_COUNT_FROM_START"):
        start()
        real_exit = os._exit

        def leave(code):
            """The user's command ends itself by os._exit: write first."""
            write()
            real_exit(code)

        os._exit = leave
