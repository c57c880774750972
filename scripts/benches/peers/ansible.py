"""Ansible with its local connection: no ssh, as many forks as nodes."""

from __future__ import annotations

import json

from benches.peers.base import Peer


class Ansible(Peer):
    """ansible for one command, ansible-playbook for steps."""

    name, version = "ansible-core", "2.19.14"
    packages = ("ansible-core==2.19.14",)
    note = "local connection, a fork for each node; steps scaled up from 20"
    most_steps = 20

    def start(self, nodes: int) -> None:
        """An inventory is all it needs."""
        super().start(nodes)
        python = self.programs / "python"
        lines = [f"node-{n} ansible_connection=local ansible_python_interpreter={python}" for n in range(1, nodes + 1)]
        (self.folder / "inventory").write_text("\n".join(lines) + "\n")

    def one(self, command: str) -> None:
        """The raw module, its quickest."""
        self.call("ansible", "all", "-i", "inventory", "-f", str(self.nodes), "-m", "raw", "-a", command)

    def steps(self, command: str, count: int) -> None:
        """A playbook of so many shell tasks."""
        tasks = [{"ansible.builtin.shell": command}] * count
        (self.folder / "steps.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        self.call("ansible-playbook", "-i", "inventory", "-f", str(self.nodes), "steps.yml")
