"""What a client does to find its server, where it is not well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from director.agent import server_identity
from director.protocol import keys

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


def test_a_key_that_came_in_clear_is_kept_only_once_a_server_has_proved_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One false answer at the first contact kept a client from its server for good."""
    said = ["1" * 40, "2" * 40]
    monkeypatch.setattr(server_identity, "ask", lambda host, port: ("127.0.0.1", said.pop(0)))
    server = server_identity.ServerIdentity(str(tmp_path), "c" * 40, "localhost", 5555, 5556)
    server.find(0)
    assert server.key == "1" * 40 and keys.pinned(str(tmp_path)) is None
    server.find(1)
    server.answered()
    assert server.key == keys.pinned(str(tmp_path)) == "2" * 40
    server.find(2)
    assert not said, "it asks in clear no more"
