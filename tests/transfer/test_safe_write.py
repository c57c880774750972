"""Folders are opened name by name, and nobody else on the machine can lead a write elsewhere."""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from director.errors import VerbError
from director.transfer import openat2
from director.transfer.file_batch import Batch
from director.transfer.safe_write import LINKS_LIMIT, OPEN_FOLDERS, Walk, settle

NOBODY = 65534
FOLDER = os.O_PATH | os.O_DIRECTORY
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def put(walk: Walk, path: Path, text: str = "new", mode: int = 0o644) -> None:
    """Write a file."""
    with Batch() as batch:
        new = batch.begin(batch.hold("", walk.open(str(path.parent))), path.name, -1, -1, mode)
        new.write(text.encode())
        batch.end(new)
        batch.finish()


def of_nobody(*paths: Path) -> None:
    """Give files, folders and links to another user."""
    for path in paths:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=["openat2", "by names"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With openat2, and with a number that makes the kernel answer ENOSYS."""
    if request.param == "by names":
        monkeypatch.setattr(openat2, "NUMBER", 9999)
        openat2._available.cache_clear()
        assert not openat2._available()
    yield request.param
    openat2._available.cache_clear()


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder to which everybody has the way."""
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o755)
    return tmp_path


def as_nobody(act: Callable[[], None]) -> None:
    """Let another user do it, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


# -- writing ----------------------------------------------------------------------------------------------------


def test_missing_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    made: list[str] = []
    with Walk(made=made.append) as walk:
        put(walk, tmp_path / "a/b/f", mode=0o4711)
        put(walk, tmp_path / "a/b/f", "newer")
        walk.open(f"{tmp_path}/a/b/").link("l", "f", -1, -1)
        walk.sync()
    assert made == [f"{tmp_path}/a", f"{tmp_path}/a/b"]
    assert (mode_of(tmp_path / "a"), mode_of(tmp_path / "a/b/f")) == (0o755, 0o644)
    assert (tmp_path / "a/b/l").read_text() == "newer"
    assert sorted(os.listdir(tmp_path / "a/b")) == ["f", "l"]


def test_reading_a_link_fails_and_a_fifo_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "l").symlink_to("f")
    os.mkfifo(tmp_path / "fifo")
    with Walk() as walk:
        folder = walk.open(str(tmp_path))
        with pytest.raises(OSError, match="symbolic links"):
            folder.read("l")
        os.close(folder.read("fifo"))


def test_a_name_as_long_as_the_system_takes(tmp_path: Path) -> None:
    with Walk() as walk:
        put(walk, tmp_path / ("\N{CAT}" * 63))
    assert len(os.listdir(tmp_path)) == 1


def test_a_dry_walk_names_what_it_would_make(tmp_path: Path) -> None:
    made: list[str] = []
    with Walk(made=made.append, dry=True) as walk:
        assert walk.open(f"{tmp_path}/a/b").status("f") is None
    assert made == [f"{tmp_path}/a", f"{tmp_path}/a/b"] and not os.listdir(tmp_path)


def test_many_and_deep_folders_keep_few_descriptors(tmp_path: Path) -> None:
    before = descriptors()
    deep = str(tmp_path) + 200 * "/d"
    with Walk() as walk:
        for number in range(3 * OPEN_FOLDERS):
            put(walk, tmp_path / f"{number}/f")
        walk.open(deep)
        assert descriptors() <= before + OPEN_FOLDERS
        walk.sync()
    assert descriptors() <= before
    assert (tmp_path / f"{3 * OPEN_FOLDERS - 1}/f").exists() and os.path.isdir(deep)


@pytest.mark.parametrize("path", ["a/../b", "a/./b", "a//b", ".."])
def test_paths_are_whole(tmp_path: Path, path: str) -> None:
    with Walk() as walk, pytest.raises(VerbError, match="expected a path without"):
        walk.open(f"{tmp_path}/{path}/c")


# -- links ------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    ("link_of", "folder_of", "mode", "followed"),
    [
        (0, 0, 0o755, True),
        (0, 0, 0o1777, True),
        (0, 0, 0o777, False),
        (NOBODY, 0, 0o1777, False),
        (0, NOBODY, 0o755, False),
        (NOBODY, NOBODY, 0o755, False),
    ],
)
def test_whose_links_are_followed(tmp_path: Path, link_of: int, folder_of: int, mode: int, followed: bool) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").mkdir()
    (tmp_path / "way/link").symlink_to("../real")
    os.chown(tmp_path / "way/link", link_of, link_of, follow_symlinks=False)
    os.chown(tmp_path / "way", folder_of, folder_of)
    (tmp_path / "way").chmod(mode)
    with Walk() as walk:
        if followed:
            put(walk, tmp_path / "way/link/new/f")
        else:
            with pytest.raises(VerbError, match=f"{tmp_path}/way/link is a link of uid {link_of} in a folder of uid"):
                put(walk, tmp_path / "way/link/new/f")
    assert os.listdir(tmp_path / "real") == (["new"] if followed else [])


@needs_root
def test_what_a_link_of_root_leads_to_is_judged_as_well(tmp_path: Path) -> None:
    """A link of root to a folder of somebody else, in which that user has put a link."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "attic").mkdir()
    (home / "trap").symlink_to(tmp_path / "attic")
    of_nobody(home, home / "trap")
    (tmp_path / "link").symlink_to("home/trap")
    with Walk() as walk, pytest.raises(VerbError, match="is not followed"):
        put(walk, tmp_path / "link/f")
    assert os.listdir(tmp_path / "attic") == []
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("home")
    with Walk() as walk:
        put(walk, tmp_path / "link/f")
    assert (home / "f").exists(), "a folder of somebody else is entered"


def test_links_to_nothing_to_themselves_and_to_files(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for name, target in (("gone", "no/where"), ("self", "self"), ("file", "f")):
        (tmp_path / name).symlink_to(target)
    for number in range(LINKS_LIMIT + 1):
        (tmp_path / f"l{number}").symlink_to(f"l{number + 1}")
    says = {"gone": "a link to nothing", "self": "too many links", "file": "not a folder", "l0": "too many links"}
    with Walk() as walk:
        for name, said in {**says, "f": "not a folder"}.items():
            with pytest.raises(VerbError, match=f"^{tmp_path}/{name}: {said}$"):
                walk.open(f"{tmp_path}/{name}/below")


def test_below_a_folder_no_link_is_passed(tmp_path: Path, way: str) -> None:
    """Not even one of root's; those on the way to that folder are."""
    (tmp_path / "real/d").mkdir(parents=True)
    (tmp_path / "dest").symlink_to("real")
    (tmp_path / "real/link").symlink_to("d")
    with Walk() as walk:
        walk.pass_no_link(f"{tmp_path}/dest/")
        put(walk, tmp_path / "dest/f")
        put(walk, tmp_path / "dest/d/new/f")
        for path in ("dest/link/f", "dest/link/new/f"):
            with pytest.raises(VerbError, match=f"{tmp_path}/dest/link is a link, which is not followed"):
                put(walk, tmp_path / path)
        with pytest.raises(VerbError, match=f"{tmp_path}/dest/f: not a folder"):
            put(walk, tmp_path / "dest/f/f")
        for number in range(2 * OPEN_FOLDERS):  # also when the folder itself is no longer open
            put(walk, tmp_path / f"dest/d/{number}/f")
        put(walk, tmp_path / "dest/last/f")
    assert os.listdir(tmp_path / "real/d/new") == ["f"] and (tmp_path / "real/last/f").exists()


def test_open_beneath_refuses_links_and_ways_out(tmp_path: Path, way: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to("b")
    (tmp_path / "a/out").symlink_to("/")
    (tmp_path / "a/file").touch()
    root = os.open(tmp_path, FOLDER)
    before = descriptors()
    try:
        fd = openat2.open_beneath(root, "a/b", FOLDER)
        assert os.path.samestat(os.fstat(fd), (tmp_path / "a/b").stat())
        os.close(fd)
        for path in ("a/link", "a/out", "a/out/etc", "a/file", "a/file/x"):
            with pytest.raises(NotADirectoryError):
                openat2.open_beneath(root, path, FOLDER)
        with pytest.raises(FileNotFoundError):
            openat2.open_beneath(root, "a/none/x", FOLDER)
        assert descriptors() <= before
    finally:
        os.close(root)


def test_inside_a_folder_links_stay_below_it(tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir(parents=True)
    for name, target in (("in", "d"), ("out", ".."), ("round", "../root/d"), ("abs", str(tmp_path / "root/d"))):
        (tmp_path / "root" / name).symlink_to(target)
    with Walk() as walk:
        walk.open(f"{tmp_path}/root/out")
        with walk.inside(f"{tmp_path}/root"):
            for name in ("in", "round", "abs"):
                put(walk, tmp_path / "root" / name / name)
            for path in ("root/out/f", "root/out/new/f"):
                with pytest.raises(VerbError, match=f"goes through a link that leaves {tmp_path}/root"):
                    put(walk, tmp_path / path)
    assert sorted(os.listdir(tmp_path / "root/d")) == ["abs", "in", "round"]
    assert os.listdir(tmp_path) == ["root"]


# -- other users ------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("trap", ["link", "folder"])
def test_a_folder_that_is_swapped_while_it_is_made(tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner puts a link, or a folder of root with something in it, in the place of the new one."""
    home, attic = tmp_path / "home", tmp_path / "home/attic"
    attic.mkdir(parents=True, mode=0o700)
    (attic / "secret").touch()
    of_nobody(home)
    mkdir = os.mkdir

    def swapped(name: str, mode: int, *, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        (home / "d").rename(home / "old")
        attic.rename(home / "d") if trap == "folder" else (home / "d").symlink_to(attic)

    monkeypatch.setattr(os, "mkdir", swapped)
    with Walk(NOBODY, NOBODY) as walk, pytest.raises(VerbError, match=f"{home}/d"):
        walk.open(f"{home}/d/deep")
    status = (home / ("d" if trap == "folder" else "attic")).lstat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o700)


@needs_root
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_link_that_is_swapped_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A second name of a file or link of root, in the place of the new link, keeps its owner."""
    (tmp_path / "secret").touch() if kind == "file" else (tmp_path / "secret").symlink_to("x")
    symlink = os.symlink

    def swapped(target: str, name: str, *, dir_fd: int) -> None:
        symlink(target, name, dir_fd=dir_fd)
        (tmp_path / name).unlink()
        os.link(tmp_path / "secret", tmp_path / name, follow_symlinks=False)

    monkeypatch.setattr(os, "symlink", swapped)
    with Walk() as walk:
        walk.open(str(tmp_path)).link("l", "x", NOBODY, NOBODY)
    assert (tmp_path / "secret").lstat().st_uid == 0


@needs_root
def test_owner_and_mode_are_those_of_what_is_open(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").touch()
    (tmp_path / "l").symlink_to("f")
    for name in ("d", "f", "l"):
        flags = os.O_RDONLY if name == "f" else os.O_PATH | os.O_NOFOLLOW
        fd = os.open(tmp_path / name, flags)
        mode = -1 if name == "l" else 0o700
        assert settle(fd, 5, 6, mode) and not settle(fd, 5, 6, mode)
        os.close(fd)
        status = (tmp_path / name).lstat()
        assert (status.st_uid, status.st_gid, mode in (-1, status.st_mode & 0o777)) == (5, 6, True)


@needs_root
def test_an_ordinary_user(open_path: Path) -> None:
    """Its own links are followed, those of other users are not; a folder that it may only pass is passed."""
    home, hall = open_path / "hall/home", open_path / "hall"
    home.mkdir(parents=True)
    (home / "real").mkdir()
    (home / "mine").symlink_to("real")
    (home / "of-5").symlink_to("real")
    of_nobody(home, home / "real", home / "mine")
    os.chown(home / "of-5", 5, 5, follow_symlinks=False)
    hall.chmod(0o711)

    def act() -> None:
        with Walk() as walk:
            put(walk, home / "mine/new/f", mode=0o640)
            walk.open(str(home / "real/new")).settle(-1, -1, 0o700)
            walk.sync()
            with pytest.raises(VerbError, match="is a link of uid 5"):
                put(walk, home / "of-5/f")
            with pytest.raises(VerbError, match=f"{hall}/new: Permission denied"):
                walk.open(str(hall / "new"))

    as_nobody(act)
    assert ((home / "real/new/f").stat().st_uid, mode_of(home / "real/new/f")) == (NOBODY, 0o640)
    assert mode_of(home / "real/new") == 0o700
