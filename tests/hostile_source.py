"""A client that lies about its files: the sources of a COPY --from are whatever a JSON file says.

`COPY --from=NODE FILE …` makes this node offer the rows in FILE: `[[kind, path, mode, target, name, content], …]`. All
else is the real client. Run in place of `-m director`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ujson

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def lie(offer: Any, patterns: Sequence[str], want: dict[str, Any]) -> None:
    """Take the place of `director.agent.node_transfer._Offer.list`."""
    from director.transfer.sources import Found

    rows, source = [], Path(patterns[0])
    for number, (kind, path, mode, target, name, content) in enumerate(json.loads(source.read_text())):
        digest, size = "", 0
        if kind == "file":
            real = Path(f"{source}.{number}")
            real.write_text(content)
            digest, size = hashlib.sha256(content.encode()).hexdigest(), len(content)
            offer.files[digest] = Found("", "file", str(real), os.stat(real), True, name)
        rows.append([kind, path, mode, size, digest, target, name])
    offer.parts = [ujson.dumps(rows).encode()]


def main() -> None:
    """Run the client; `lie` is in it as soon as it has patched itself, before which nothing of it may be imported."""
    from gevent import monkey

    from director.__main__ import main as director

    patch_all = monkey.patch_all

    def patch_and_lie(**options: Any) -> None:
        patch_all(**options)
        from director.agent import node_transfer

        node_transfer._Offer.list = lie  # type: ignore[assignment, method-assign]

    monkey.patch_all = patch_and_lie
    sys.exit(director())


if __name__ == "__main__":
    main()
