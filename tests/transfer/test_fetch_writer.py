"""Manifests of nodes are checked, and their files are written below one folder only."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from special_files import left_as_made, make_special

from director.errors import VerbError
from director.transfer import fetch_writer
from director.transfer.manifests import ROWS_LIMIT, check, leads_out, placed, printable

DIGEST = "0" * 64


def file_row(path: str, name: str = "", mode: int = 0o644, size: int = 0, digest: str = DIGEST) -> list[Any]:
    """A row for a file."""
    return ["file", path, mode, size, digest, "", name]


@pytest.mark.parametrize(
    "rows",
    [
        {},
        [[]],
        ["file"],
        [file_row("/etc/passwd")],
        [file_row("../x")],
        [file_row("a/../../x")],
        [file_row("a//b")],
        [file_row("./a")],
        [file_row("a\0b")],
        [file_row("a" * 5000)],
        [file_row("", "a/b")],
        [file_row("", "..")],
        [file_row("")],
        [file_row("a", size=-1)],
        [file_row("a", size=1 << 60)],
        [file_row("a", digest="../../x")],
        [file_row("a", digest="")],
        [["fifo", "a", 0, 0, "", "", ""]],
        [["dir", "a", 0o755, 0, DIGEST, "", ""]],
        [["link", "a", 0o777, 0, "", "x\0", ""]],
        [["link", "a", 0o777, 0, "", "/etc", ""], file_row("a/b")],
        [file_row("a"), file_row("a/b/c")],
        [["file", 1, 0, 0, DIGEST, "", ""]],
        [["file", "a", "0644", 0, DIGEST, "", ""]],
        [["link", "", 0o777, 0, "", "/etc", "l"], ["dir", "l", 0o755, 0, "", "", ""]],
        [["link", "", 0o777, 0, "", "/etc", "l"], file_row("l/cron")],
        [["dir", "l", 0o755, 0, "", "", ""], ["link", "", 0o777, 0, "", "/etc", "l"]],
        [file_row("", "a"), file_row("a")],
        [file_row("a"), ["dir", "a/b", 0o755, 0, "", "", ""]],
        [["tar", "", 0o644, 0, DIGEST, "", "a"]],
        [[["file"], "a", 0o644, 0, DIGEST, "", ""]],
        [file_row("a")] * (ROWS_LIMIT + 1),
    ],
)
def test_lists_that_no_honest_node_would_send(rows: Any) -> None:
    with pytest.raises(VerbError):
        check(rows)


def test_a_list_as_it_should_be_loses_setuid_bits() -> None:
    rows = [["dir", "", 0o2755, 0, "", "", "etc"], file_row("a/b", mode=0o6755), ["link", "a/c", 0o777, 0, "", "b", ""]]
    assert [row[2] for row in check(rows)] == [0o755, 0o755, 0o777]


def test_a_list_of_the_operators_machine() -> None:
    """It keeps setuid bits, and a later file replaces an earlier one; nothing else may leave or be below a link."""
    rows = [file_row("", "tool", mode=0o4755), file_row("", "tool"), ["tar", "", 0o644, 1, DIGEST, "", "a.tar"]]
    assert check([*rows, file_row("a.tar/x"), file_row("")], own=True)[0][2] == 0o4755
    for bad in ([file_row("../x")], [["link", "l", 0o777, 0, "", "/etc", ""], file_row("l/x")]):
        with pytest.raises(VerbError):
            check(bad, own=True)


def test_two_sources_for_one_place_are_named() -> None:
    with pytest.raises(VerbError, match="two sources give 'x'"):
        placed([file_row("", "x"), file_row("x")])
    with pytest.raises(VerbError, match="two sources give 'x'"):
        placed([file_row("", "x"), ["dir", "x", 0o755, 0, "", "", ""], file_row("x/y")])
    with pytest.raises(VerbError, match="'x/y' is below 'x', which is no folder"):
        placed([file_row("x/y"), file_row("", "x")])
    with pytest.raises(VerbError, match="a%0Ab"):
        placed([file_row("a\nb"), file_row("a%0Ab")])


def test_control_characters_become_printable() -> None:
    assert printable("a\nb\x1b[0m\x85/é\udcff") == "a%0Ab%1B[0m%C2%85/é\udcff"


@pytest.mark.parametrize(
    ("place", "target", "out"),
    [
        ("a", "b", False), ("d/a", "../b", False), ("d/a", "./../x//y", False), ("a", ".", False),
        ("a", "/etc/passwd", True), ("a", "..", True), ("a", "../b", True), ("d/a", "../../x", True),
        ("d/a", "k/../b", True), ("a", "", True), ("a", "b\n", True),
    ],
)  # fmt: skip
def test_links_that_may_lead_out(place: str, target: str, out: bool) -> None:
    assert leads_out(place, target) is out


class Blobs:
    """Blobs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def row(self, data: bytes, path: str, **more: Any) -> list[Any]:
        """A row for a file with this content."""
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return file_row(path, size=len(data), digest=digest, **more)

    def path(self, digest: str) -> str:
        """The path of a blob."""
        return str(self.folder / digest)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    (tmp_path / "blobs").mkdir()
    return Blobs(tmp_path / "blobs")


def write(rows: list[Any], folder: Path, blobs: Blobs, node: str = "n") -> fetch_writer.Written:
    """Write as the user who runs the tests."""
    return run(check(rows), str(folder), node, (os.geteuid(), os.getegid()), blobs.path)


def run(*args: Any) -> fetch_writer.Written:
    """Write until the end."""
    written = fetch_writer.Written()
    for _ in fetch_writer.write(*args, written):
        time.sleep(0.001)
    return written


def test_files_folders_and_links_are_written_and_left_alone_the_second_time(tmp_path: Path, blobs: Blobs) -> None:
    rows = [
        ["dir", "", 0o700, 0, "", "", "src"], ["dir", "d", 0o500, 0, "", "", ""],
        blobs.row(b"one", "d/one", mode=0o640), blobs.row(b"two", "", name="two"),
        ["link", "d/l", 0o777, 0, "", "one", ""], ["link", "out", 0o777, 0, "", "/etc", ""],
    ]  # fmt: skip
    out = tmp_path / "deep/out"
    written = write(rows, out, blobs)
    assert written.changed and len(written.paths) == 3 and len(written.left_out) == 1
    assert (out / "n/d/one").read_bytes() == b"one" and stat.S_IMODE((out / "n/d/one").stat().st_mode) == 0o640
    assert os.readlink(out / "n/d/l") == "one"
    assert not write(rows, out, blobs).changed
    (out / "n/two").write_text("TWO")
    (out / "n/d/one").chmod(0o600)
    assert write(rows, out, blobs).changed
    assert (out / "n/two").read_bytes() == b"two" and not list((out / "n").glob(".*"))
    assert stat.S_IMODE((out / "n/d/one").stat().st_mode) == 0o640


def test_more_files_than_descriptors_of_a_frame(tmp_path: Path, blobs: Blobs) -> None:
    written = write([blobs.row(b"%d" % number, f"f{number}") for number in range(450)], tmp_path / "out", blobs)
    assert len(written.paths) == 450
    assert (tmp_path / "out/n/f449").read_bytes() == b"449"


@pytest.mark.parametrize("planted", ["n", "n/d"])
def test_a_link_on_the_way_is_not_followed(tmp_path: Path, blobs: Blobs, planted: str) -> None:
    (tmp_path / "safe").mkdir()
    (tmp_path / "out" / planted).parent.mkdir(parents=True)
    (tmp_path / "out" / planted).symlink_to(tmp_path / "safe")
    with pytest.raises(VerbError, match="is not followed"):
        write([blobs.row(b"x", "d/f")], tmp_path / "out", blobs)
    assert not list((tmp_path / "safe").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_link_of_another_user_on_the_way_to_the_folder_is_not_followed(tmp_path: Path, blobs: Blobs) -> None:
    """One of root is."""
    (tmp_path / "safe").mkdir()
    (tmp_path / "out").symlink_to("safe")
    assert write([blobs.row(b"x", "f")], tmp_path / "out", blobs).paths == [f"{tmp_path}/out/n/f"]
    os.chown(tmp_path / "out", 65534, 65534, follow_symlinks=False)
    with pytest.raises(VerbError, match=f"{tmp_path}/out is a link of uid 65534"):
        write([blobs.row(b"x", "g")], tmp_path / "out", blobs)
    assert os.listdir(tmp_path / "safe/n") == ["f"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path, blobs: Blobs) -> None:
    (tmp_path / "out/n/f").mkdir(parents=True)
    with pytest.raises(VerbError, match="is a folder"):
        write([blobs.row(b"x", "f")], tmp_path / "out", blobs)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_user_may_do_what_the_user_may(tmp_path: Path, blobs: Blobs) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o755)
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    row = blobs.row(b"x", "f")
    run([row], str(tmp_path / "theirs"), "n", (65534, 65534), blobs.path)
    assert (tmp_path / "theirs/n/f").stat().st_uid == 65534
    (tmp_path / "mine").mkdir(mode=0o755)
    with pytest.raises(VerbError, match="Permission denied"):
        run([row], str(tmp_path / "mine"), "n", (65534, 65534), blobs.path)


def test_devices_fifos_and_sockets_are_not_replaced(tmp_path: Path, blobs: Blobs) -> None:
    place = tmp_path / "out/n"
    place.mkdir(parents=True)
    special = make_special(place)
    before = list(left_as_made(place))
    for path, said in special.items():
        for row in (blobs.row(b"x", path.name), ["link", path.name, 0o777, 0, "", "other", ""]):
            with pytest.raises(VerbError, match=f"^{path} is {said}, not a plain file$"):
                write([row], tmp_path / "out", blobs)
    assert list(left_as_made(place)) == before
