"""What an Installer changes is what it has compared, also when another user swaps it in between."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from verb_node import FakeNode, Fleet, drive, sha, step_of

from director import verbs
from director.errors import VerbError
from director.transfer.manifests import BYTES_LIMIT
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


LINK = ["link", "", 0o777, 0, "", "/etc/cron.d", "l"]
FILE = ["file", "l/cron", 0o644, 5, sha(b"spoil"), "", "cron"]
LISTS = [
    [LINK, FILE],
    [LINK, ["dir", "l", 0o755, 0, "", "", ""], FILE],
    [["dir", "l", 0o755, 0, "", "", ""], FILE, LINK],
    [["link", "l", 0o777, 0, "", "other", ""]],
    [FILE, FILE],
    [["file", "../cron", *FILE[2:]]],
    {"file": FILE},
    None,
]


@pytest.mark.parametrize("rows", LISTS)
@pytest.mark.parametrize("in_blob", [False, True])
def test_the_node_itself_checks_what_another_node_lists(
    rows: Any, in_blob: bool, node: FakeNode, here: Path, there: Path
) -> None:
    """Whatever the server has let through; nothing is written."""
    assert node.blobs is not None
    node.blobs.put_bytes(b"spoil")
    digest, size = node.blobs.put_bytes(json.dumps(rows).encode())
    node.lent = [{"manifest": {"digest": digest, "size": size}} if in_blob else {"sources": rows}]
    step = drive("COPY --from=db /x d/", here, node.blobs, Fleet(web_01=True, db=True)).steps[0].row
    with pytest.raises(VerbError) as raised:
        verbs.load("COPY").apply(step["body"], {}, node)
    assert "\n" not in str(raised.value) and os.listdir(there) == []


def test_a_list_of_another_node_passes_no_link_and_one_of_the_operator_does(
    node: FakeNode, here: Path, there: Path
) -> None:
    assert node.blobs is not None
    (there / "d").mkdir()
    (there / "attic").mkdir()
    (there / "d/l").symlink_to("../attic")
    (here / "tree/l").mkdir(parents=True)
    (here / "tree/l/cron").write_text("own")
    node.blobs.put_bytes(b"spoil")
    node.lent = [{"sources": [FILE]}]
    step = drive("COPY --from=db /x d/", here, node.blobs, Fleet(web_01=True, db=True)).steps[0].row
    with pytest.raises(VerbError, match=f"^{there}/d/l is a link, which is not followed"):
        verbs.load("COPY").apply(step["body"], {}, node)
    assert os.listdir(there / "attic") == []
    step = step_of("COPY tree d/", here, node.blobs)
    verbs.load("COPY").apply(step["body"], {}, node)
    assert (there / "attic/cron").read_text() == "own"


def test_a_list_that_is_too_large_is_not_read(node: FakeNode, here: Path) -> None:
    assert node.blobs is not None
    node.lent = [{"manifest": {"digest": sha(b""), "size": BYTES_LIMIT + 1}}]
    step = drive("COPY --from=db /x d/", here, node.blobs, Fleet(web_01=True, db=True)).steps[0].row
    with pytest.raises(VerbError, match="more than 64 MiB"):
        verbs.load("COPY").apply(step["body"], {}, node)


@needs_root
@pytest.mark.parametrize("text", ["COPY f l/x/f", "COPY d l", "ADD a.tar .", "ADD a.tar l", "WORKDIR l/x"])
def test_a_link_of_another_user_fails_the_run_and_the_plan(
    text: str, node: FakeNode, here: Path, there: Path, tmp_path: Path
) -> None:
    (here / "d").mkdir()
    for path in (here / "f", here / "d/f"):
        path.write_bytes(TEXT)
    with tarfile.open(here / "a.tar", "w") as archive:
        archive.add(here / "f", "l/f")
    attic = tmp_path / "attic"
    attic.mkdir()
    (there / "l").symlink_to(attic)
    os.chown(there / "l", 65534, 65534, follow_symlinks=False)
    assert node.blobs is not None
    step = step_of(text, here, node.blobs)
    verb = verbs.load(step["verb"])
    for act in (verb.foresee, verb.apply):
        with pytest.raises(
            VerbError, match=f"^{there}/l is a link of uid 65534 in a folder of uid 0, which is not foll"
        ):
            act(step["body"], step["flags"], node)
    assert os.listdir(attic) == []


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
