"""The commands that the pages of the documentation show."""

from __future__ import annotations

import re
from collections.abc import Iterator


def commands(text: str) -> Iterator[str]:
    """The shell commands shown on a page, continued and quoted lines joined."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        waiting = ""
        for line in block.splitlines():
            waiting += line + "\n"
            if line.endswith("\\") or waiting.count("'") % 2:
                continue
            yield waiting.replace("\\\n", " ").strip()
            waiting = ""
