"""A server that answers over HTTP beside its socket: `http_server.py PORT`, then options of `director --server`."""

from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False)

import sys  # noqa: E402
from functools import partial  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402
from http_front_door import front_door  # noqa: E402

from director.config.settings import load  # noqa: E402
from director.daemon.server import Server  # noqa: E402
from director.runtime.paths import state_folder  # noqa: E402

settings = load(sys.argv[2:])
server = Server(settings, state_folder(settings.state_dir, "server"))
server.start()
WSGIServer(("127.0.0.1", int(sys.argv[1])), partial(front_door, server.commands), log=None).start()
server.wait()
