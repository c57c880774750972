"""Runs director, and kills it at a call: python crash_at.py before|after NUMBER MODULE:FUNCTION WORDS…"""

from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False)

import importlib  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from director.__main__ import program  # noqa: E402


def arrange(when: str, number: int, place: str) -> None:
    """Let call `number` of a function or method end this process, as SIGKILL does, before or after it."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    inner, calls = getattr(owner, name), itertools.count(1)

    def call(*args: Any, **more: Any) -> Any:
        last = next(calls) == number
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = inner(*args, **more)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, call)


arrange(sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv.pop(1))
program()
