"""No process imports a module from the folder that it is started in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Fleet

from director.workers.supervisor import RUN_MODULE

NAMES = ("json", "ujson", "os", "pwd", "re", "runpy", "socket", "sitecustomize", "yaml", "zmq", "director")
HOSTILE = """import os
with open({note!r}, "a") as note:
    note.write(__file__ + "\\n")
"""
COMMAND = Path(sys.executable).parent / "director"


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """Where a module of the folder `hostile` beside it writes that it was imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(HOSTILE.format(note=str(tmp_path / "note")))
    return tmp_path / "note"


def test_server_client_workers_and_tasks(new_fleet: Callable[..., Fleet], note: Path) -> None:
    folder, fleet = note.parent / "hostile", new_fleet()
    for name in ("server", "node"):
        fleet.bounds[name] = ["env", f"--chdir={folder}"]
        fleet.programs[name] = [str(COMMAND)]
    fleet.start_server()
    fleet.start_client("node")
    fleet.wait_online(["node"])
    call = [str(COMMAND), "--socket-path", str(fleet.socket_path), "--wait", "--exec"]
    text = "RUN id -un\nFETCH /etc/hostname got/"
    if not os.getuid():
        text += "\nUSER nobody\nRUN test $(id -un) = nobody"
    done = subprocess.run([*call, text], cwd=folder, env=fleet.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {os.readlink(f"/proc/{pid}/cwd") for pid in fleet.workers("")} == {str(folder)}
    assert not note.exists(), note.read_text()


def test_python_takes_a_module_of_the_folder_where_nothing_is_done(note: Path) -> None:
    """The counter-check: with `-m` the modules above would be imported."""
    folder = note.parent / "hostile"
    env = {name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"}
    for words in (["-c", RUN_MODULE, "json.tool"], ["-m", "json.tool"]):
        assert not note.exists(), note.read_text()
        subprocess.run([sys.executable, *words], cwd=folder, env=env, input=b"{}", capture_output=True, check=False)
    assert note.exists()
