"""The commands that the pages of the documentation show."""

from __future__ import annotations

import re
from collections.abc import Iterator


def blocks(text: str) -> list[str]:
    """The blocks of shell commands shown on a page."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)


def commands(text: str) -> Iterator[str]:
    """The shell commands shown on a page, continued and quoted lines joined."""
    for block in blocks(text):
        waiting = ""
        for line in block.splitlines():
            waiting += line + "\n"
            if line.endswith("\\") or waiting.count("'") % 2:
                continue
            yield waiting.replace("\\\n", " ").strip()
            waiting = ""
