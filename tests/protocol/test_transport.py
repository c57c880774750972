"""ZeroMQ sockets on loopback: CURVE, ZAP, peers that vanish, edges of the descriptor that must not be missed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import gevent
import pytest
import zmq

from director.errors import StartError
from director.protocol.context import Context, new_context
from director.protocol.keys import KeyPair
from director.protocol.transport import Authenticator, Dealer, Router


def pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def attend(dealer: Dealer) -> None:
    """Stands for a reader: the library works only when it is called."""
    while not dealer.socket.closed:
        dealer.check_soon()
        gevent.sleep(0.01)


def bound(context: Context, keys: KeyPair, address: str) -> Router:
    router = Router(context, keys)
    router.bind(address)
    return router


class Hub:
    """A ROUTER with its ZAP handler, and the keys that are admitted."""

    def __init__(self) -> None:
        self.context = new_context()
        self.keys = pair()
        self.admitted: set[str] = set()
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.authenticator = Authenticator(self.context, self.admitted.__contains__)
        self.router = bound(self.context, self.keys, self.address)
        self.dealers: list[Dealer] = []

    def client(self, admitted: bool = True, context: zmq.Context[zmq.Socket[bytes]] | None = None) -> Dealer:
        keys = pair()
        if admitted:
            self.admitted.add(keys.public)
        dealer = Dealer(context or self.context, keys, self.keys.public, self.address)
        dealer.keys = keys  # type: ignore[attr-defined]
        self.dealers.append(dealer)
        gevent.spawn(attend, dealer)
        return dealer

    def next(self, seconds: float = 120.0) -> tuple[bytes, zmq.Frame, list[bytes]]:
        with gevent.Timeout(seconds):
            return self.router.receive()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    for dealer in hub.dealers:
        if not dealer.socket.closed:
            dealer.close()
    hub.authenticator.stop()
    hub.router.close()
    hub.context.destroy(linger=0)


def probe_of(hub: Hub) -> bytes:
    peer, _, parts = hub.next()
    assert parts == [b""]
    return peer


def test_a_connection_begins_with_a_probe_that_has_the_key(hub: Hub) -> None:
    dealer = hub.client()
    peer, first, _ = hub.next()
    assert first.get("User-Id") == dealer.keys.public  # type: ignore[attr-defined]
    assert peer[0] == 0, "only ids that the library made are taken"


def test_a_client_with_an_unknown_key_never_connects(hub: Hub) -> None:
    unknown = hub.client(admitted=False)
    friend = hub.client()
    probe_of(hub)
    assert friend.send(b"hello") and not unknown.send(b"hello")
    _, first, _ = hub.next()
    assert (first.bytes, first.get("User-Id")) == (b"hello", friend.keys.public)  # type: ignore[attr-defined]
    with pytest.raises(gevent.Timeout):
        hub.next(0.5)


def test_a_client_with_the_wrong_server_key_never_connects(hub: Hub) -> None:
    keys = pair()
    hub.admitted.add(keys.public)
    hub.dealers.append(Dealer(hub.context, keys, pair().public, hub.address))
    with pytest.raises(gevent.Timeout):
        hub.next(0.5)


def test_two_peers_that_choose_one_routing_id_are_both_ignored_or_apart(hub: Hub) -> None:
    """A chosen id could impersonate a connection; ids that peers choose are dropped."""
    keys = pair()
    hub.admitted.add(keys.public)
    forger = hub.context.socket(zmq.DEALER)
    forger.set(zmq.ROUTING_ID, b"\1abcd")
    forger.set(zmq.CURVE_SERVERKEY, hub.keys.public.encode())
    forger.set(zmq.CURVE_PUBLICKEY, keys.public.encode())
    forger.set(zmq.CURVE_SECRETKEY, keys.secret.encode())
    forger.connect(hub.address)
    forger.send(b"forged")
    honest = hub.client()
    probe_of(hub)
    honest.send(b"honest")
    assert hub.next()[1].bytes == b"honest"
    forger.close(linger=0)


def test_messages_go_both_ways_in_order(hub: Hub) -> None:
    dealer = hub.client()
    peer = probe_of(hub)
    for number in range(500):
        assert hub.router.send(peer, b"%d" % number, b"payload")
    with gevent.Timeout(120):
        assert [dealer.receive() for _ in range(500)] == [[b"%d" % n, b"payload"] for n in range(500)]


def test_a_reader_never_stalls_while_others_send(hub: Hub) -> None:
    """The descriptor is edge-triggered, and a send may consume the edge; no round trip may get lost."""
    dealers = [hub.client() for _ in range(5)]
    peers = [probe_of(hub) for _ in dealers]

    def echo() -> None:
        while True:
            peer, first, _ = hub.router.receive()
            hub.router.send(peer, first.bytes)
            hub.router.check_soon()

    server = gevent.spawn(echo)

    def ask(dealer: Dealer) -> int:
        for number in range(300):
            dealer.send(b"%d" % number)
            while dealer.receive() != [b"%d" % number]:
                pass
        return 300

    with gevent.Timeout(120):
        jobs = [gevent.spawn(ask, dealer) for dealer in dealers]
        gevent.joinall(jobs)
    server.kill()
    assert [job.value for job in jobs] == [300] * len(peers)


def test_a_send_to_a_peer_that_vanished_says_so(hub: Hub) -> None:
    dealer = hub.client()
    peer = probe_of(hub)
    dealer.close()
    with gevent.Timeout(120):
        while hub.router.send(peer, b"x"):
            gevent.sleep(0.02)


def test_messages_of_a_broken_connection_are_dropped_and_the_next_one_begins_with_a_probe(hub: Hub) -> None:
    dealer = hub.client()
    probe_of(hub)
    hub.router.close()
    with gevent.Timeout(120):
        while dealer.send(b"stale"):
            gevent.sleep(0.01)
    hub.router = bound(hub.context, hub.keys, hub.address)
    peer = probe_of(hub)
    assert dealer.send(b"fresh")
    same, first, _ = hub.next()
    assert (same, first.bytes) == (peer, b"fresh")
    assert hub.router.send(peer, b"seen")
    with gevent.Timeout(120):
        assert dealer.receive() == [b"seen"]


def test_sending_to_a_peer_that_does_not_read_says_so_and_delays_no_other(hub: Hub) -> None:
    other = new_context()
    busy = hub.client(context=other)
    peer = probe_of(hub)
    with gevent.Timeout(120):
        while hub.router.send(peer, b"x" * 100_000):
            pass
    friend = hub.client()
    assert hub.router.send(probe_of(hub), b"hello")
    with gevent.Timeout(120):
        assert friend.receive() == [b"hello"]
    busy.close()
    hub.dealers.remove(busy)
    other.destroy(linger=0)


def test_a_port_in_use_is_one_clear_line(hub: Hub) -> None:
    with pytest.raises(StartError, match=r"cannot listen at tcp://127.0.0.1:.*another server"):
        bound(hub.context, pair(), hub.address)


VANISHING = """
import sys, time, zmq
server, address, keys = sys.argv[1], sys.argv[2], sys.argv[3:]
context = zmq.Context()
sockets = []
for key in keys:
    public, secret = key.split("|")
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.CURVE_SERVERKEY, server.encode())
    socket.set(zmq.CURVE_PUBLICKEY, public.encode())
    socket.set(zmq.CURVE_SECRETKEY, secret.encode())
    socket.connect(address)
    socket.send(b"here")
    sockets.append(socket)
time.sleep(60)
"""


def test_no_cpu_is_spent_after_all_peers_were_killed(hub: Hub) -> None:
    keys = [pair() for _ in range(20)]
    hub.admitted.update(key.public for key in keys)
    words = [f"{key.public}|{key.secret}" for key in keys]
    child = subprocess.Popen([sys.executable, "-c", VANISHING, hub.keys.public, hub.address, *words])
    peers = [hub.next()[0] for _ in keys]
    reader = gevent.spawn(hub.router.receive)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    gevent.sleep(0.2)
    before, began = time.process_time(), time.monotonic()
    gevent.sleep(2.0)
    share = (time.process_time() - before) / (time.monotonic() - began)
    reader.kill()
    assert len(peers) == 20
    assert share < 0.2, "a spinning reader would take a whole core"
