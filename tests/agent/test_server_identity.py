"""What a client does to find its server, where it is not well."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from gevent import monkey
monkey.patch_all(os=False, signal=False, subprocess=False)
import encodings.idna, os, resource
import gevent.threadpool
from director.agent import server_identity
from director.errors import DirectorError
gevent.get_hub().resolver, gevent.get_hub().threadpool  # what is loaded at first use is there
if os.geteuid() == 0:  # for whom this bound does not count
    os.setresuid(3_000_000, 3_000_000, 3_000_000)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    server_identity.resolve("127.0.0.1")
except DirectorError as error:
    print(error)
"""


def test_without_a_thread_to_look_it_up_an_address_is_not_found() -> None:
    """So it is tried again; before, the greenlet of the connection died, and the client lived on without one."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "the server's address 127.0.0.1 cannot be looked up: can't start new thread\n", done.stderr
