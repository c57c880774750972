"""Runs director, and lets one of its greenlets die as soon as it is there: python dying.py NAME WORDS…"""

from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False)

import gc  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402

from director.__main__ import program  # noqa: E402


def strike(name: str) -> None:
    while True:
        gevent.sleep(0.05)
        for one in gc.get_objects():
            if isinstance(one, gevent.Greenlet) and getattr(one, "name", "") == name and one.started:
                one.kill(MemoryError("it was to die"), block=False)
                return


gevent.spawn(strike, sys.argv.pop(1))
program()
