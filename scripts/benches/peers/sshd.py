"""An ssh server of the bench's own, for the peers that know no other way: own keys, own port, loopback only."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from benches.bench import say
from benches.fleet import free_ports
from benches.peers.base import Peer

PROGRAM = "/usr/sbin/sshd"
LISTENS = 16  # addresses that one sshd listens on at most
SETTINGS = """\
Port {port}
{addresses}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/sshd_{first}.pid
PasswordAuthentication no
StrictModes no
UseDNS no
MaxStartups 1000
MaxSessions 1000
"""


def address(number: int) -> str:
    """The loopback address that stands for a node: `127.0.1.N`."""
    return f"127.0.1.{number}"


def install() -> None:
    """openssh-server from Debian's packages where it is missing; the machine's own service is not started."""
    if os.path.exists(PROGRAM):
        return
    if os.getuid() or not shutil.which("apt-get"):
        raise SystemExit("bench: pyinfra and parallel-ssh need an ssh server: as root, apt-get install openssh-server")
    say("peers: installing openssh-server")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # 1: nothing is started
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "openssh-server"]):
        subprocess.run(["apt-get", *words], env=env, check=True, stdout=sys.stderr)


class SshPeer(Peer):
    """A tool that reaches its nodes by ssh: here servers that listen on an address for each node."""

    def install(self) -> None:
        """The tool, and an ssh server."""
        super().install()
        install()

    def start(self, nodes: int) -> None:
        """Make the keys and start the server."""
        super().start(nodes)
        self.port = free_ports(1)[0]
        self.user = getpass.getuser()
        for name in ("host", "user"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(words, check=True)
        if not os.getuid():
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for first in range(1, nodes + 1, LISTENS):
            self._serve(first, min(first + LISTENS - 1, nodes))
        self._trust_all(nodes)
        self.reached(self._listens, "the ssh server listens")

    def _serve(self, first: int, last: int) -> None:
        addresses = "\n".join(f"ListenAddress {address(number)}" for number in range(first, last + 1))
        settings = SETTINGS.format(port=self.port, addresses=addresses, folder=self.folder, first=first)
        path = self.folder / f"sshd_config_{first}"
        path.write_text(settings)
        self.daemon(PROGRAM, "-D", "-e", "-f", str(path))

    def _trust_all(self, nodes: int) -> None:
        key = (self.folder / "host.pub").read_text().split()[:2]
        places = (f"[{address(number)}]:{self.port}" for number in range(1, nodes + 1))
        (self.folder / ".ssh").mkdir()
        (self.folder / ".ssh/known_hosts").write_text("".join(f"{place} {' '.join(key)}\n" for place in places))

    def _listens(self) -> bool:
        return all(map(self._answers, range(1, self.nodes + 1)))

    def _answers(self, number: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((address(number), self.port)) == 0
