"""What an Installer changes is what it has compared, also when another user swaps it in between."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from director.verbs.contents import Bytes
from director.verbs.install import Installer
from director.verbs.ownership import Asked

TEXT = b"port=80\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


class Swapped(Bytes):
    """A content that is found in a file, after which something else is in its place."""

    def __init__(self, swap: Callable[[], object]) -> None:
        super().__init__(TEXT)
        self._swap = swap

    def is_in(self, fd: int) -> bool:
        """Compare, then swap."""
        same = super().is_in(fd)
        self._swap()
        return same


def install(path: Path, content: Bytes, asked: Asked) -> Installer:
    """Let a file hold a content."""
    with Installer(asked, lambda: None) as installer:
        installer.file(str(path), content, 0o644)
        installer.finish()
    return installer


@needs_root
def test_a_file_that_is_swapped_for_a_link_after_it_was_compared(tmp_path: Path) -> None:
    """What the link leads to once got the mode."""
    file, secret = tmp_path / "f", tmp_path / "secret"
    for path in (file, secret):
        path.write_bytes(TEXT)
        path.chmod(0o600)

    def swap() -> None:
        file.unlink()
        file.symlink_to(secret)

    install(file, Swapped(swap), Asked(65534, 65534))
    assert (secret.stat().st_mode & 0o777, secret.stat().st_uid) == (0o600, 0)


@needs_root
def test_a_second_name_of_a_file_keeps_owner_and_mode(tmp_path: Path) -> None:
    file, secret = tmp_path / "f", tmp_path / "secret"
    secret.write_bytes(TEXT)
    secret.chmod(0o600)
    file.hardlink_to(secret)
    installer = install(file, Bytes(TEXT), Asked(65534, 65534))
    assert (secret.stat().st_mode & 0o777, secret.stat().st_uid) == (0o600, 0)
    assert (file.stat().st_mode & 0o777, file.stat().st_uid, file.read_bytes()) == (0o644, 65534, TEXT)
    assert installer.changed and b"mode 0600 becomes 0644" in installer.said()
    assert not install(file, Bytes(TEXT), Asked(65534, 65534)).changed


@pytest.mark.parametrize("there", ["missing", "a link", "a longer file"])
def test_what_holds_something_else_is_replaced(tmp_path: Path, there: str) -> None:
    file = tmp_path / "f"
    if there == "a link":
        file.symlink_to("elsewhere")
    elif there == "a longer file":
        file.write_bytes(TEXT * 2)
    assert install(file, Bytes(TEXT), Asked()).placed == [str(file)]
    assert not file.is_symlink() and file.read_bytes() == TEXT
    assert sorted(os.listdir(tmp_path)) == ["f"]
