"""directord with its ZeroMQ driver; CURVE keys would have to lie in /etc, hence its shared key, which is no slower."""

from __future__ import annotations

import json
import shutil

from benches.fleet import free_ports
from benches.peers.base import Peer


class Directord(Peer):
    """A server and clients that all run as processes of this machine."""

    name, version = "directord", "0.12.0"
    packages = ("directord==0.12.0", "pyzmq<27", "diskcache", "setuptools<81")
    note = "ZeroMQ driver with a shared key, not encrypted"

    def start(self, nodes: int) -> None:
        """Each client with a name and a cache of its own."""
        super().start(nodes)
        job, backend = free_ports(2)
        common = ["--driver", "zeromq", "--job-port", str(job), "--backend-port", str(backend),
                  "--zmq-shared-key", "bench"]  # fmt: skip
        self._socket = ["--socket-path", str(self.folder / "d.sock")]
        self.daemon("directord", *common, *self._socket, "--cache-path", str(self.folder / "cache"),
                    "server", "--zmq-bind-address", "127.0.0.1")  # fmt: skip
        for number in range(1, nodes + 1):
            own = ["--identity", f"node-{number}", "--cache-path", str(self.folder / f"cache-{number}")]
            self.daemon("directord", *common, *own, "client", "--zmq-server-address", "127.0.0.1")
        self.reached(self._all_here, f"{nodes} directord clients are here")

    def _all_here(self) -> bool:
        return self.call("directord", *self._socket, "manage", "--list-nodes").count("node-") >= self.nodes

    def one(self, command: str) -> None:
        """Polled to its end."""
        self.call("directord", *self._socket, "exec", "--verb", "RUN", "--wait", f"--skip-cache {command}")

    def steps(self, command: str, count: int) -> None:
        """One orchestration of so many jobs."""
        file = self.folder / "steps.yaml"
        file.write_text(json.dumps([{"jobs": [{"RUN": f"--skip-cache {command}"}] * count}]))
        self.call("directord", *self._socket, "orchestrate", "--wait", "--ignore-cache", str(file))

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        shutil.rmtree(self.folder, ignore_errors=True)
