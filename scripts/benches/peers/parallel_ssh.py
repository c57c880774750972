"""parallel-ssh: a library, hence a program of a few lines that is started anew for each call."""

from __future__ import annotations

from benches.peers.sshd import SshPeer, address

PROGRAM = """\
import sys
from pssh.clients import ParallelSSHClient

port, user, key, command, *hosts = sys.argv[1:]
client = ParallelSSHClient(hosts, user=user, port=int(port), pkey=key, pool_size=len(hosts))
for answer in client.run_command(command):
    for _ in answer.stdout:
        pass
    if answer.exit_code:
        sys.exit(f"{answer.host}: {answer.exit_code}")
"""


class ParallelSsh(SshPeer):
    """A call for each step, as it knows no orchestration."""

    name, version = "parallel-ssh", "2.16.0"
    packages = ("parallel-ssh==2.16.0",)
    note = "ssh on loopback; steps scaled up from 20 calls"
    most_steps = 20

    def one(self, command: str) -> None:
        """One call."""
        hosts = [address(number) for number in range(1, self.nodes + 1)]
        key = str(self.folder / "user")
        self.call("python", "-c", PROGRAM, str(self.port), self.user, key, command, *hosts)

    def steps(self, command: str, count: int) -> None:
        """One call after another."""
        for _ in range(count):
            self.one(command)
