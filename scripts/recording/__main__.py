"""Runs the commands of each picture in a terminal, and draws what it shows; see scripts/record."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
NODES, COLUMNS = 40, 104
ODD = "test $DIRECTOR_NODE != web-7 || { echo no such service: nginx >&2; exit 3; }; echo nginx is active"
SCENES = {
    "minute": (
        "director --exec 'RUN nproc' --wait",
        f"director --exec 'RUN {ODD}' --target 'web-*' --wait",
        "director --list-jobs --state failed",
        "director --job-info last --failed",
    ),
    "nodes": (
        "director --list-nodes --node 'web-[1-3]'",
        "director --label-node 'web-[1-20]' tier=front",
        "director --exec 'RUN true' --target 'label:tier=front and not web-1' --expect-nodes 19 --wait",
    ),
    "file": (
        "cat hello.director",
        "director --plan hello.director --target 'web-[1-3]'",
        "director --orchestrate hello.director --target 'web-[1-3]' --wait",
        "director --orchestrate hello.director --target 'web-[1-3]' --wait",
    ),
    "wrong": (
        "director --exec 'RUN test -e /tmp/director-ready && echo ready' --target 'web-[1-3]' --wait",
        "director --job-info last",
        "touch /tmp/director-ready",
        "director --resume last --wait",
    ),
}


@contextmanager
def fleet() -> Iterator[dict[str, str]]:
    """A server and its clients; the environment of commands for them."""
    with tempfile.TemporaryDirectory(prefix="record-") as folder:
        place = Path(folder)
        ports = [str(20000 + os.getpid() % 20000 + number) for number in range(2)]
        socket = str(place / "director.sock")
        start = [str(ROOT / "scripts/fleet"), "--folder", str(place / "fleet")]
        more = ["--server-address", f"127.0.0.1:{ports[0]}", "--enroll-port", ports[1], "--socket-path", socket]
        names = [*start, str(NODES), "--with-server", "--detach", "--prefix", "web-", *more]
        subprocess.run(names, check=True)
        try:
            kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
            path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
            yield {**kept, "PATH": path, "DIRECTOR_SOCKET_PATH": socket, "TERM": "xterm-256color", "USER": "you"}
        finally:
            subprocess.run([*start, "--stop"], check=True)


def in_terminal(command: str, env: dict[str, str]) -> str:
    """What a command shows in a terminal."""
    master, slave = pty.openpty()
    size = ["sh", "-c", f"stty cols {COLUMNS} rows 50; exec sh -c {shlex.quote(command)}"]
    process = subprocess.Popen(size, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=ROOT / "docs/examples")
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(master)
    process.wait()
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    return re.sub(r"\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|.*\r", "", text)


def record(name: str, env: dict[str, str]) -> None:
    """Run the commands of a scene, and draw them."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command in SCENES[name]:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")), soft_wrap=False)
        console.print(Text.from_ansi(in_terminal(command, env).rstrip("\n")))
    picture = console.export_svg(title="director", theme=DIMMED_MONOKAI, unique_id=name)
    # no fonts from elsewhere
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S).replace("Fira Code, monospace", "monospace")
    (ROOT / f"docs/images/{name}.svg").write_text(re.sub(r"[ \t]+$", "", picture, flags=re.M), encoding="utf-8")


if __name__ == "__main__":
    with fleet() as environment:
        for scene in sys.argv[1:] or SCENES:
            record(scene, environment)
