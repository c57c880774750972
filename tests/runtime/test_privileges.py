"""Root is given up, and a folder given away, without giving away anything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from director.runtime import privileges

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")


def test_files_are_given_but_not_what_has_another_name(tmp_path: Path) -> None:
    inside, outside = tmp_path / "state", tmp_path / "secret"
    (inside / "below").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/kept").touch()
    (inside / "way").symlink_to(tmp_path / "folder")
    (inside / "below/file").touch()
    outside.touch()
    (inside / "link").symlink_to(outside)
    (inside / "hard").hardlink_to(outside)
    privileges.give(str(inside), 1234, 1235)
    owners = {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in (inside, *inside.rglob("*"), outside)}
    given = {name for name, owner in owners.items() if owner == (1234, 1235)}
    assert given == {"state", "below", "file"}
    assert owners["secret"] == (0, os.getgid())
    assert (tmp_path / "folder/kept").stat().st_uid == (tmp_path / "folder").stat().st_uid == 0


def test_a_folder_swapped_for_a_link_meanwhile_gives_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, secret = tmp_path / "state", tmp_path / "etc/shadow"
    for path in (inside / "etc/shadow", secret):
        path.parent.mkdir(parents=True)
        path.touch()
    give_file = privileges._give_file

    def swap(name: str, *rest: int) -> None:
        (inside / "etc").rename(inside / "was")
        (inside / "etc").symlink_to(secret.parent)
        give_file(name, *rest)

    monkeypatch.setattr(privileges, "_give_file", swap)
    privileges.give(str(inside), 1234, 1235)
    assert secret.stat().st_uid == 0
    assert (inside / "was/shadow").stat().st_uid == 1234
