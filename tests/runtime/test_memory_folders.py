"""Files in memory: private to a user, gone afterwards; the user leads no write of root elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from director.runtime import memory_folders

NOBODY = 65534


def test_a_file_is_private_and_gone_afterwards() -> None:
    with memory_folders.file("test", b"value", 0o440) as path:
        assert Path(path).read_bytes() == b"value"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o440
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert not os.path.exists(os.path.dirname(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")
def test_a_user_who_replaces_the_folder_gets_nothing_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user acts in the moment in which the folder belongs to it."""
    moved: list[str] = []

    def give(real: Any, what: Any, uid: int, gid: int) -> None:
        real(what, uid, gid)
        path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what
        if os.path.isdir(path):
            os.rename(path, f"{path}.moved")
            os.symlink(tmp_path, path)
            moved.append(path)

    for name in ("chown", "fchown"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real: give(real, *args))
    with memory_folders.file("test", b"value", 0o400, NOBODY, NOBODY):
        assert moved and not list(tmp_path.iterdir())
    for path in moved:
        os.unlink(path)
        assert os.stat(f"{path}.moved/value").st_uid == os.stat(f"{path}.moved").st_uid == NOBODY
        os.unlink(f"{path}.moved/value")
        os.rmdir(f"{path}.moved")
