"""Small files are replaced atomically; a failed write keeps the old one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from director.runtime.durable import write_private


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"the old and much longer one")
    path.chmod(0o644)
    write_private(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    (tmp_path / "key.new").mkdir()
    with pytest.raises(OSError):
        write_private(str(path), b"new")
    assert path.read_bytes() == b"old"
