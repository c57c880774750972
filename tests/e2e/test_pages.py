"""The commands of the documentation's pages, run as written and in order on a new machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT
from machine import Machine, new_machine
from pages import blocks, commands
from podman import Podman, ready_podman

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("containers")]

# A page's command that stays in the foreground has a terminal of its own; the next is typed when it is ready.
FOREGROUND = re.compile(r"director --(server|client)\b")
READY = """
wait_ready() {
    until director --list-nodes --state online --no-header | wc -l | grep -qx "$1"; do sleep 0.2; done 2>/dev/null
}
"""


def page(name: str) -> str:
    """The text of a page."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def script(text: str) -> str:
    """All commands of a text as one script that ends at the first that fails, and tells each on stderr."""
    lines, clients = [READY, "set -x -o pipefail"], 0
    for number, command in enumerate(commands(text)):
        if started := FOREGROUND.match(command):
            clients += started[1] == "client"
            lines += [f"{command} < /dev/null > /tmp/terminal-{number} 2>&1 &", f"wait_ready {clients}"]
        else:
            lines.append(command)
    return "\n".join(lines)


# Own loopback and ports, an own /run/director that belongs to root, and the name that pages give the server.
ISOLATE = """
python3 -c "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 65))"
echo 127.0.0.1 localhost the-server.example.com > "$PLACE/hosts"
mount --bind "$PLACE/hosts" /etc/hosts
mount -t tmpfs -o mode=755 tmpfs /run/director
"""
CONTAINERS_READY = """
until director --list-nodes 2>/dev/null; do sleep 0.2; done >&2
online() { director --list-nodes --state online --limit 0 --no-header | wc -l; }
until [ "$(online)" -ge "$(($(podman ps --quiet | wc -l) - 1))" ]; do sleep 0.2; done
"""


class Pages:
    """A machine on which the first page was followed; what its commands printed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.first_steps = machine(script(page("first-steps.md")), 240)

    def follow(self, text: str, before: str = "") -> str:
        """Run a text's commands from a fresh folder; what they printed."""
        self.machine.unpack()
        return self.machine(f". ~/director/bin/activate\n{before}\n{script(text)}")


@pytest.fixture(scope="module")
def pages(sdist: Path) -> Iterator[Pages]:
    with new_machine(sdist) as machine:
        yield Pages(machine)


def test_first_steps(pages: Pages) -> None:
    said = pages.first_steps
    assert "exit code 1" in said
    assert "machine,web-[1-2]: success" in said
    assert re.search(r"success: 3/3 done.*\n\Z", said)
    assert "belongs to me" in pages.machine("cat /tmp/director-example/web-1/index.html")


def test_own_verbs(pages: Pages) -> None:
    said = pages.follow(page("own-verbs.md"))
    assert "HELLO TEXT: greet somebody" in said
    assert "HELLO WEB-2 FROM WEB-2" in said


def test_polling(pages: Pages) -> None:
    text = page("polling.md")
    nginx = "[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=true\\n"
    before = f"""printf '{nginx}' > /run/systemd/system/nginx.service
        systemctl start nginx
        director --exec 'LABEL tier=web' --target machine --wait > /dev/null
        director --exec 'LABEL tier=none' --target 'web-*' --wait > /dev/null"""
    said = pages.follow(text, before)
    shown = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)[0]
    printed = said[: said.index("\n]\n") + 3]
    assert shape(shown) == shape(printed)
    values = json.loads(shown)[0]
    assert set(values["tasks"]) == set(json.loads(printed)[0]["tasks"])


def shape(text: str) -> str:
    """A JSON text with its layout and its names, without its values but for the fixed ones."""
    return re.sub(r'("\w+": )(?!\{|\[|"exec"|"root"|"RUN)("[^"]*"|[^,}\s]+)', r"\1…", text)


@pytest.mark.parametrize("heading", ["Backup", "Housekeeping"])
def test_operations(pages: Pages, heading: str) -> None:
    section = page("operations.md").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    pages.follow(section)


@pytest.fixture
def own_podman(tmp_path: Path) -> Iterator[Podman]:
    """Podman with containers and images of its own, as the page names them plainly, and the image's layers made."""
    if os.getuid():
        pytest.skip("CONTAINERS NOT TESTED: only root has the network and the mounts of its own that the page needs")
    podman = ready_podman()
    driver, images = podman("info", "--format", "{{.Store.GraphDriverName}} {{.Store.GraphRoot}}").split()
    settings = f'driver="{driver}"\ngraphroot="{tmp_path}/graph"\nrunroot="{tmp_path}/run"\n'
    shared = f'[storage.options]\nadditionalimagestores=["{images}"]\n'
    (tmp_path / "storage.conf").write_text(f"[storage]\n{settings}{shared}")
    podman.env |= {"HOME": str(tmp_path), "CONTAINERS_STORAGE_CONF": str(tmp_path / "storage.conf")}
    try:
        yield podman
    finally:
        podman.run("rm", "--all", "--force", "--time", "0")
        podman.run("volume", "rm", "--all", "--force")
        podman.run("rmi", "--all", "--force")


def programs(podman: Podman, folder: Path) -> str:
    """A PATH for the page: this checkout's `director`, and a `podman` that builds with the flags needed here."""
    folder.mkdir()
    real = shutil.which("podman", path=podman.env["PATH"])
    flags = " ".join(podman.build_flags())
    program = folder / "podman"
    program.write_text(f'#!/bin/sh\n[ "$1" != build ] || {{ shift; set -- build {flags} "$@"; }}\nexec {real} "$@"\n')
    program.chmod(0o755)
    return os.pathsep.join([str(folder), str(Path(sys.executable).parent), podman.env["PATH"]])


@pytest.fixture
def run_folder() -> Iterator[None]:
    """/run/director is there, for another one to be mounted over it."""
    made = not os.path.exists("/run/director")
    os.makedirs("/run/director", exist_ok=True)
    yield
    if made:
        with contextlib.suppress(OSError):
            os.rmdir("/run/director")


@pytest.fixture
def source(own_podman: Podman, sdist: Path, tmp_path: Path) -> Path:
    """The project's source, and the layers of its image, made with a network; the page's command takes these."""
    place = tmp_path / "source"
    place.mkdir()
    subprocess.run(["tar", "-xf", str(sdist), "-C", str(place), "--strip-components=1"], check=True)
    own_podman.build("director", "-f", str(place / "Containerfile"), str(place))
    return place


@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_containers(own_podman: Podman, run_folder: None, source: Path, tmp_path: Path) -> None:
    text = ["set -x", ISOLATE]
    for block in blocks(page("containers.md")):
        text += [block, CONTAINERS_READY if "podman run" in block else ""]
    command = ["unshare", "--net", "--mount", "bash", "-euc", "\n".join(text)]
    env = {**own_podman.env, "PLACE": str(tmp_path), "PATH": programs(own_podman, tmp_path / "bin")}
    done = subprocess.run(command, env=env, cwd=source, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
    assert "hello from" in done.stdout
