"""The ledger client in a process patched like the server's; run by test_ledger_client.py.

python ledger_client.py FOLDER STORE MODE
"""

from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False)

import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from director.errors import DirectorError, StoreError  # noqa: E402
from director.server.ledger_client import LedgerClient  # noqa: E402

WRITES = 3000


def job(name: str, digest: str = "d", size: int = 10) -> tuple[str, dict[str, Any], list[bytes]]:
    fields = {
        "id": name, "name": name, "kind": "exec", "created_at": 1.0, "submitted_by": "root", "digest": digest,
        "step_count": 1, "node_count": 1, "task_count": 1, "options": {}, "nodes": ["n"],
        "meta": {"stages": [{"name": "", "nodes": ["n"]}], "blocks": [{"first": 0, "last": 0, "stage": 0}],
                 "chunks": [{"first": 0, "contents": {}}]},
        "digests": {},
    }  # fmt: skip
    return ("accept", fields, [b"[" + b" " * size + b"]"])


def killed(ledger: LedgerClient) -> dict[str, Any]:
    """Many writes while the process is killed several times; which of them became durable, and in which order."""
    done: list[int] = []
    kills = 0
    ledger.commit(job("j"))
    for number in range(WRITES):
        fields = {"name": f"n{number % 100}", "journal_position": number}
        ledger.write(("node", fields), then=lambda error, n=number: done.append(n))
        if number % 50 == 0:
            gevent.sleep(0.001)
        if number in (500, 1500, 2500) and ledger.child.ready:
            os.kill(ledger.child.pid, signal.SIGKILL)
            kills += 1
    with gevent.Timeout(120):
        ledger.commit()  # all earlier writes are durable then
    positions = {row["name"]: row["journal_position"] for row in map(json.loads, ledger.stream("nodes"))}
    return {"kills": kills, "ordered": done == list(range(WRITES)), "positions": positions}


def answers(ledger: LedgerClient) -> dict[str, Any]:
    """Queries, errors of queries, and writes that the store refuses."""
    ledger.commit(job("j"))
    found = {"found": json.loads(ledger.ask("find", id="j")), "none": json.loads(ledger.ask("find", id="k"))}
    found["chunk"] = ledger.ask("chunk", job="j", step=0).decode().strip()
    ledger.commit(("cursors", {"job": "j", "cursors": {"n": 1}}))
    ledger.commit(("job", {"id": "j", "state": "running", "started_at": 2.0}))
    found["open"] = [json.loads(part) for part in ledger.stream("open_jobs")]
    try:
        ledger.ask("chunk", job="k", step=0)
    except DirectorError as error:
        found["error"] = type(error).__name__
    try:
        ledger.commit(job("j", "other"), refusable=True)
    except StoreError as error:
        found["refused"] = str(error)
    try:
        ledger.commit(("node", {"name": "y", "journal_position": 2**70}))
    except StoreError as error:
        found["malformed"] = str(error)
    ledger.commit(("node", {"name": "x"}))
    found["nodes"] = [json.loads(part)["name"] for part in ledger.stream("nodes")]
    return found


def full(ledger: LedgerClient) -> dict[str, Any]:
    """A full disk: submissions are refused, results wait, and nothing is lost once there is room again."""
    refused = 0
    ballast = os.path.join(os.path.dirname(sys.argv[1]), "ballast")
    ledger.commit(job("first"), refusable=True)
    with open(ballast, "wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(65536))
        except OSError:
            pass
    for number in range(50):
        try:
            ledger.commit(job(f"j{number}", size=300_000), refusable=True)
        except StoreError:
            refused += 1
            break
    done: list[str | None] = []
    ledger.write(("node", {"name": "n", "facts": json.dumps({"x": "y" * 500_000})}), then=done.append)
    with gevent.Timeout(120):
        while not ledger.stuck:
            gevent.sleep(0.01)
    waited = not done
    os.unlink(ballast)
    with gevent.Timeout(120):
        while not done:
            gevent.sleep(0.01)
    ledger.commit(job("last"), refusable=True)
    nodes = [json.loads(part)["name"] for part in ledger.stream("nodes")]
    return {"refused": refused, "waited": waited, "done": done, "nodes": nodes, "stuck": ledger.stuck}


def large(ledger: LedgerClient) -> dict[str, Any]:
    """While the process is stopped, more waits than fits in a frame; and one write alone fits in none."""
    ledger.commit(job("j"))
    facts = json.dumps({"x": "y" * 3_000_000})
    os.kill(ledger.child.pid, signal.SIGSTOP)
    done: list[str | None] = []
    for number in range(40):
        ledger.write(("node", {"name": f"n{number}", "facts": facts}), then=done.append)
        gevent.sleep(0)
    too_large = ("node", {"name": "huge", "facts": facts}), *[("node", {"name": "huge", "facts": facts})] * 25
    ledger.write(*too_large, then=done.append)
    ledger.write(("node", {"name": "last"}), then=done.append)
    os.kill(ledger.child.pid, signal.SIGCONT)
    with gevent.Timeout(120):
        ledger.commit()  # all earlier writes are durable then
    return {"done": done, "nodes": len(list(ledger.stream("nodes"))), "room": ledger.wait_for_room(0)}


def slow(ledger: LedgerClient) -> dict[str, Any]:
    """Many readers of long answers stop reading; other queries are answered, and little waits in this process."""
    steps = [{"i": n, "verb": "RUN", "text": "RUN x", "stage": 0, "line": 1, "flags": {}} for n in range(30)]
    name, fields, _ = job("j")
    ledger.commit((name, {**fields, "step_count": 30, "task_count": 30}, [json.dumps(steps).encode()]))
    outputs = b"x" * (1 << 20)
    for n in range(30):
        row = [n, "S", 0, 1.0, 2.0, 1.0, 0.0, 1, None, 0, len(outputs), 0, None]
        ledger.commit(("results", {"job": "j", "node": "n", "results": [row]}, outputs))
    streams = [ledger.stream("export_jobs", live={}) for _ in range(12)]
    sizes = [len(next(stream)) for stream in streams[:8]]
    with gevent.Timeout(120):
        found = json.loads(ledger.ask("find", id="j"))
    gevent.sleep(0.3)
    waits = [sum(len(body) for _, body in request.frames.queue) for request in ledger.child.requests.values()]
    for stream in streams[:8]:
        stream.close()
    whole = sum(len(part) for part in streams[8])  # it waited for one of the eight places
    return {"found": found["digest"], "sizes": len(sizes), "most": max(waits), "whole": whole}


def stopped(ledger: LedgerClient) -> dict[str, Any]:
    """An orderly end directly after many writes."""
    for number in range(500):
        ledger.write(("node", {"name": f"n{number}"}))
    return {}


def audited(ledger: LedgerClient) -> dict[str, Any]:
    """Accept jobs, each with its line of the audit log, and print those that are durable, until this is killed.

    The ledger process is killed now and then.
    """
    run = os.urandom(4).hex()

    def accept(lane: int) -> None:
        for number in range(100_000):
            name = f"{run}-{lane}-{number}"
            ledger.commit(job(name), ("audit", {"entry": {"event": "command", "job": name}}), refusable=True)
            print(name, flush=True)

    lanes = [gevent.spawn(accept, lane) for lane in range(4)]
    while True:
        gevent.sleep(random.uniform(0.1, 0.5))
        if ledger.child.ready:
            os.kill(ledger.child.pid, signal.SIGKILL)
        assert not any(lane.ready() for lane in lanes)


def main() -> None:
    folder, store, mode = sys.argv[1:]
    hello: dict[str, Any] = {"store": store, "folder": folder, "log_level": "error", "log_format": "text"}
    hello["audit"] = {"size": 20_000, "count": 100_000}
    ledger = LedgerClient(hello, sys.exit)
    with gevent.Timeout(120):
        ledger.ready.wait()
    modes = {"killed": killed, "answers": answers, "full": full, "large": large, "slow": slow, "stopped": stopped}
    answer = {**modes, "audited": audited}[mode](ledger)
    ledger.stop()
    print(json.dumps(answer))


main()
