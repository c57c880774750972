"""Salt: one master and a minion process for each node, all below one folder."""

from __future__ import annotations

import getpass
import json

from benches.fleet import free_ports
from benches.peers.base import Peer


class Salt(Peer):
    """Master and minions with accepted keys."""

    name, version = "salt", "3008.3"
    packages = ("salt==3008.3",)

    def start(self, nodes: int) -> None:
        """Settings are YAML, which JSON is too."""
        super().start(nodes)
        publish, request = free_ports(2)
        states = self.folder / "states"
        states.mkdir()
        self._write("master", {
            "interface": "127.0.0.1", "publish_port": publish, "ret_port": request, "auto_accept": True,
            "file_roots": {"base": [str(states)]}, "timeout": 60,
        })  # fmt: skip
        self.daemon("salt-master", "-c", str(self.folder / "master"), "-l", "error")
        for number in range(1, nodes + 1):
            name = f"node-{number}"
            self._write(name, {"id": name, "master": "127.0.0.1", "publish_port": publish, "master_port": request})
            self.daemon("salt-minion", "-c", str(self.folder / name), "-l", "error")
        self.reached(self._all_here, f"{nodes} minions answer")

    def _write(self, name: str, settings: dict[str, object]) -> None:
        folder = self.folder / name
        folder.mkdir()
        own = {"root_dir": str(folder), "user": getpass.getuser(), **settings}
        (folder / ("master" if name == "master" else "minion")).write_text(json.dumps(own))

    def _salt(self, *words: str) -> str:
        return self.call("salt", "-c", str(self.folder / "master"), "--out=json", "--static", "*", *words)

    def _all_here(self) -> bool:
        return list(json.loads(self._salt("test.ping")).values()).count(True) >= self.nodes

    def one(self, command: str) -> None:
        """cmd.run on all."""
        self._salt("cmd.run", command)

    def steps(self, command: str, count: int) -> None:
        """A state file of so many cmd.run states, in order."""
        states = {f"step-{n:05d}": {"cmd.run": [{"name": command}]} for n in range(count)}
        (self.folder / "states/steps.sls").write_text("#!json\n" + json.dumps(states))
        self._salt("state.apply", "steps", "--timeout=1200")
