"""A program in a pseudo-terminal, as a person uses it: type, and wait for what it shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 60.0  # seconds
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")


class Terminal:
    """A running program whose three streams are a terminal of its own; use it in a `with`.

    Attributes:
        shown: everything it has written so far, as the terminal got it, without bells.
    """

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], cwd: Path, rows: int = 40, columns: int = 120
    ) -> None:
        self.shown = ""
        self._seen = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            list(words), stdin=slave, stdout=slave, stderr=slave, cwd=cwd, start_new_session=True, close_fds=True,
            env={"TERM": "xterm", **env}, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)

    @property
    def plain(self) -> str:
        """What it has shown, without colours and other sequences."""
        return _SEQUENCE.sub("", self.shown)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size, as a window that is dragged."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until the regex matches behind the last match; the match."""
        until = time.monotonic() + PATIENCE
        while (found := re.compile(pattern).search(self.shown, self._seen)) is None:
            assert time.monotonic() < until, f"{pattern!r} was not shown: {self.shown[self._seen :][-2000:]!r}"
            if not self._read(0.2):
                raise AssertionError(f"the program ended without {pattern!r}: {self.shown[self._seen :]!r}")
        self._seen = found.end()
        return found

    def end(self) -> int:
        """Read on to the end of the program; its exit code."""
        while self._read(1.0):
            pass
        return self._process.wait(PATIENCE)

    def _read(self, seconds: float) -> bool:
        """Read what is there within so many seconds; False at the end."""
        if select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                return False
            self.shown += data.decode(errors="replace").replace("\r\n", "\n").replace("\a", "")
            return bool(data)
        return True

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        os.close(self._master)
