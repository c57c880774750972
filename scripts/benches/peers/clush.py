"""ClusterShell with its exec worker, which runs the command here once for each node: no ssh."""

from __future__ import annotations

from benches.peers.base import Peer


class Clush(Peer):
    """A call for each step, as it knows no orchestration."""

    name, version = "ClusterShell", "1.10.1"
    packages = ("ClusterShell==1.10.1",)
    note = "exec worker, no ssh; steps scaled up from 50 calls"
    most_steps = 50

    def one(self, command: str) -> None:
        """One call."""
        self.call("clush", "-R", "exec", "-f", str(self.nodes), "-w", f"node[1-{self.nodes}]", "-b", command)

    def steps(self, command: str, count: int) -> None:
        """One call after another."""
        for _ in range(count):
            self.one(command)
