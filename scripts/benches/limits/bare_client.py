"""A process that holds what any client must: patched gevent, zmq, psutil, ujson and one CURVE socket; then it idles.

    python -m benches.limits.bare_client PORT [SERVER_KEY]

Without a key it is the ROUTER the others connect to, and prints its key; the others print `ready`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Connect or bind, say so, sleep."""
    from gevent import monkey

    monkey.patch_all(os=False, signal=False, subprocess=False)
    import gevent
    import psutil
    import ujson
    import zmq

    assert psutil and ujson
    public, secret = zmq.curve_keypair()
    context = zmq.Context()
    if len(sys.argv) == 2:
        socket = context.socket(zmq.ROUTER)
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, secret)
        socket.bind(f"tcp://127.0.0.1:{sys.argv[1]}")
        print(public.decode(), flush=True)
    else:
        socket = context.socket(zmq.DEALER)
        socket.set(zmq.CURVE_PUBLICKEY, public)
        socket.set(zmq.CURVE_SECRETKEY, secret)
        socket.set(zmq.CURVE_SERVERKEY, sys.argv[2].encode())
        socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
        socket.send(b"hello")
        print("ready", flush=True)
    gevent.sleep(3600)


if __name__ == "__main__":
    main()
