"""Other tools doing the same work on the same number of local nodes, each installed into an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benches.bench import Bench, say
from benches.peers import ansible, clush, directord, itself, parallel_ssh, pyinfra, salt
from benches.peers.base import Peer, Work
from benches.row import Row

PEERS: tuple[tuple[type[Peer], float | None, float | None], ...] = (  # with the bars: at least so many times faster
    (directord.Directord, 15.0, 5.0),
    (salt.Salt, 15.0, 5.0),
    (ansible.Ansible, None, 250.0),
    (pyinfra.Pyinfra, None, None),
    (parallel_ssh.ParallelSsh, 10.0, None),
    (clush.Clush, None, None),
)
FEW = 6  # nodes of the long orchestration


def run(bench: Bench) -> Iterator[Row]:
    """One command on forty nodes, then a thousand steps on six; director first, then each peer against it."""
    nodes, steps = bench.pick((40, 1000), (10, 100), (2, 4))
    ours = _measure(bench, itself.Itself, nodes, steps)
    for kind, one_bar, steps_bar in PEERS:
        theirs = _measure(bench, kind, nodes, steps)
        bars = (one_bar, steps_bar) if bench.size == "full" else (None, None)
        works = (f"one command on {nodes} local nodes, cold CLI to its exit", f"{steps} steps in order on {FEW} nodes")
        for work, mine, other, bar in zip(works, ours, theirs, bars, strict=True):
            yield Row("peers", f"{work}: {kind.name} {kind.version}", mine, "s", kind.note or "all work verified",
                      other, other / mine, bar=bar, bar_kind="at least")  # fmt: skip


def _measure(bench: Bench, kind: type[Peer], nodes: int, steps: int) -> tuple[float, float]:
    """Seconds of the one command and of the steps; the latter scaled up where a tool would need many minutes."""
    with kind(bench.place()) as peer:
        peer.install()
        peer.start(nodes)
        work = Work(peer.folder / "marks")
        ones = [work.verified(nodes, lambda: peer.one(work.command)) for _ in range(bench.runs)]
    with kind(bench.place()) as peer:
        peer.install()
        peer.start(FEW)
        work = Work(peer.folder / "marks")
        few = min(steps, kind.most_steps)
        took = work.verified(FEW * few, lambda: peer.steps(work.command, few)) * steps / few
    say(f"peers: {kind.name} {median(ones):.2f} s, {took:.1f} s")
    return median(ones), took
