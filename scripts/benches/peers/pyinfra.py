"""pyinfra over ssh, as its connector to the own machine knows one node only."""

from __future__ import annotations

from benches.peers.sshd import SshPeer, address


class Pyinfra(SshPeer):
    """`pyinfra exec` for one command, a deploy file for steps."""

    name, version = "pyinfra", "3.10"
    packages = ("pyinfra==3.10",)
    note = "ssh on loopback, all nodes in parallel; steps scaled up from 20"
    most_steps = 20

    def start(self, nodes: int) -> None:
        """An inventory of all addresses."""
        super().start(nodes)
        data = {"ssh_user": self.user, "ssh_port": self.port, "ssh_key": str(self.folder / "user"),
                "ssh_known_hosts_file": str(self.folder / ".ssh/known_hosts")}  # fmt: skip
        hosts = [(address(number), data) for number in range(1, nodes + 1)]
        (self.folder / "inventory.py").write_text(f"nodes = {hosts!r}\n")

    def one(self, command: str) -> None:
        """One command on all."""
        self._pyinfra("exec", "--", command)

    def steps(self, command: str, count: int) -> None:
        """A deploy of so many shell operations; without a barrier between nodes."""
        lines = ["from pyinfra.operations import server"]
        lines += [f"server.shell(name='step {number}', commands=[{command!r}])" for number in range(count)]
        (self.folder / "steps.py").write_text("\n".join(lines) + "\n")
        self._pyinfra("steps.py", options=("--no-wait",))

    def _pyinfra(self, *words: str, options: tuple[str, ...] = ()) -> None:
        self.call("pyinfra", "-y", "--parallel", str(self.nodes), *options, "inventory.py", *words)
