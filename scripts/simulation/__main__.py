"""The fleet simulator: N clients in a few processes that use the real protocol and only pretend to run their steps.

Every simulated client is the real `Agent` over the real `Connection`, with its own key, enrolment, CURVE connection,
heartbeats, batches and acknowledgements. Only its journal is in memory, and its steps run no process.

Without the variable DIRECTOR_TOKEN a server enrols 256 of them at once, then 20 a second.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from simulation import processes_for

if TYPE_CHECKING:
    from director.agent.core import Agent
    from director.verbs.base import Outcome

OPENING = 64  # connections that one process opens at a time


def build_parser() -> argparse.ArgumentParser:
    """The options of `scripts/simulate`."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("count", type=int, help="clients in all")
    parser.add_argument("--server-address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5555)
    parser.add_argument("--enroll-port", type=int, default=5556)
    parser.add_argument("--prefix", default="sim-", help="names are PREFIX and a number of five digits")
    parser.add_argument("--processes", type=int, default=0, help="default: as few as do not wait for each other")
    parser.add_argument("--latency", type=float, default=0.0, help="mean seconds a step takes (0 to twice that)")
    parser.add_argument("--failure-rate", type=float, default=0.0, help="share of steps that fail")
    parser.add_argument("--output-size", type=int, default=0, help="bytes a step prints")
    parser.add_argument("--churn", type=float, default=0.0, help="share of clients that reconnect each second")
    parser.add_argument("--seconds", type=float, default=3600.0, help="end by itself after this long")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Start the processes, print `online N` when all clients were welcomed, end at a signal or after `--seconds`."""
    options = build_parser().parse_args(argv)
    if options.child:
        return _serve(options)
    count = options.processes or processes_for(options.count)
    share = -(-options.count // count)
    children = []
    for number in range(count):
        first = number * share
        here = min(share, options.count - first)
        if here > 0:
            children.append(_start(options, first, here))
    return _watch(children, options.count)


def _start(options: argparse.Namespace, first: int, count: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "simulation", str(count), "--child", f"--first={first}"]
    own = ("count", "child", "first", "processes")
    words += [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items() if name not in own]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def _watch(children: list[subprocess.Popen[str]], count: int) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the children end with us
    try:
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "online":
                return 1
        print(f"online {count}", flush=True)
        return max(child.wait() for child in children)
    except KeyboardInterrupt:
        return 0
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def _serve(options: argparse.Namespace) -> int:
    from gevent import monkey

    monkey.patch_all(os=False, signal=False, subprocess=False)
    from gevent.event import Event

    from director.protocol.context import raise_descriptor_limit
    from director.runtime import logs, signals

    logs.set_up("error")
    raise_descriptor_limit()
    fleet = Fleet(options)
    ended = Event()
    fleet.open()  # a signal ends the process at once meanwhile
    signals.on_end(lambda why: ended.set())
    _quieten_collector()
    print("online", flush=True)
    ended.wait(options.seconds)
    return 0


def _quieten_collector() -> None:
    """Make garbage collections rare: each one walks a million objects that stay, and stops every client meanwhile."""
    import gc

    from director.runtime.greenlets import calm

    gc.collect()
    gc.freeze()
    calm()


class Fleet:
    """The clients of one process."""

    def __init__(self, options: argparse.Namespace) -> None:
        from director.protocol.context import new_context

        self._options = options
        self._context = new_context(options.count * 2 + 100)
        self._apply = self._new_apply()
        self.agents: list[Agent] = []

    def open(self) -> None:
        """Connect all clients, OPENING at a time; returns when each was welcomed."""
        from gevent.pool import Pool

        from director.runtime.greenlets import spawn

        pool = Pool(OPENING)
        for number in range(self._options.first, self._options.first + self._options.count):
            pool.spawn(self._join, f"{self._options.prefix}{number:05d}")
        pool.join()
        if self._options.churn:
            spawn("churn", self._churn, vital=False)

    def _join(self, name: str) -> None:
        from director.agent.connection import Connection
        from director.agent.node_keys import NodeKeys
        from director.agent.server_identity import ServerIdentity, given_token
        from director.runtime.greenlets import spawn
        from simulation.client import new_agent

        options = self._options
        node_keys = NodeKeys()
        server = ServerIdentity("", node_keys.pair.public, options.server_address, options.port, options.enroll_port,
                                token=given_token(None))  # fmt: skip
        connection = Connection(self._context, node_keys, server)
        agent = new_agent(name, connection.send, self._apply, server.credentials, lambda: node_keys.pair.sealing)
        spawn(f"connection {name}", connection.run, agent, vital=False)
        agent.session.reconciled.wait()
        self.agents.append(agent)

    def _new_apply(self) -> Callable[..., Outcome]:
        """What runs a step in place of the executor. The imports are outside it, as it is called for every step."""
        from gevent import sleep

        from director.states import FAILED, SUCCESS
        from director.verbs.base import Outcome
        from simulation.talk import talk

        latency, failure_rate = self._options.latency, self._options.failure_rate
        output = os.urandom(self._options.output_size // 2).hex().encode()

        def apply(runner: Any, job: Any, scope: Any, step: Any, running: Any) -> Outcome:
            if "talk" in step["text"]:
                return talk(running, float(step["text"].split()[-1]))
            if latency:
                sleep(random.uniform(0, 2 * latency))
            if failure_rate and random.random() < failure_rate:
                return Outcome(FAILED, 1, output, b"", "a simulated failure")
            return Outcome(SUCCESS, 0, output)

        return apply

    def _churn(self) -> None:
        import gevent

        while True:
            gevent.sleep(1.0)
            for agent in random.sample(self.agents, max(1, int(len(self.agents) * self._options.churn))):
                agent.session.suspend()
                agent.session.refused = "churn"  # so that the connection begins again


if __name__ == "__main__":
    sys.exit(main())
