"""What a source gives: files, globs, folders and links; what is left out; what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from director.errors import UsageError
from director.transfer.sources import Found, Patterns, expand


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/x.txt", "a/y.log", "a/b/z.txt", "a/b/.hidden", ".dot.txt", "one.txt", "two.txt", "[1].txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "a/link").symlink_to("x.txt")
    (tmp_path / "a/broken").symlink_to("nowhere")
    (tmp_path / "to_a").symlink_to("a")
    (tmp_path / "to_one").symlink_to("one.txt")
    (tmp_path / "a/empty").mkdir()
    os.chmod(tmp_path / "one.txt", 0o4750)
    return tmp_path


def found(base: Path, pattern: str, **want: Any) -> list[Found]:
    return list(expand({"base": str(base), "pattern": pattern, **want}))


def paths(base: Path, pattern: str, **want: Any) -> list[str]:
    return [each.path or f"={each.name}" for each in found(base, pattern, **want)]


def test_a_file(tree: Path):
    (one,) = found(tree, "one.txt")
    assert one.entry() == {"path": "", "kind": "file", "mode": 0o4750, "size": 7, "target": "", "name": "one.txt"}
    assert paths(tree, str(tree / "a/../one.txt")) == ["=one.txt"]
    assert paths(tree / "a", "../one.txt") == ["=one.txt"]
    assert paths(tree, "[1].txt") == ["=[1].txt"]
    (linked,) = found(tree, "to_one")
    assert (linked.kind, linked.size, linked.name) == ("file", 7, "to_one")


def test_a_folder_gives_its_contents_and_keeps_links(tree: Path):
    entries = found(tree, "a")
    assert [(e.path, e.kind) for e in entries] == [
        ("", "dir"),
        *(("b", "dir"), ("broken", "link"), ("empty", "dir"), ("link", "link"), ("x.txt", "file"), ("y.log", "file")),
        *(("b/.hidden", "file"), ("b/z.txt", "file")),
    ]
    assert {e.path: e.target for e in entries if e.kind == "link"} == {"broken": "nowhere", "link": "x.txt"}
    assert paths(tree, "a/") == paths(tree, "./a/.") == paths(tree, "to_a")[:0] + paths(tree, "a")
    assert [e.path for e in found(tree, "to_a")] == [e.path for e in entries]


def test_globs_match_files_only(tree: Path):
    assert paths(tree, "*.txt") == ["=.dot.txt", "=[1].txt", "=one.txt", "=two.txt"]
    assert paths(tree, "*.txt", hidden=False) == ["=[1].txt", "=one.txt", "=two.txt"]
    assert paths(tree, "t[!x]o.txt") == ["=two.txt"]
    assert paths(tree, "*/*.txt", hidden=False) == ["=x.txt", "=x.txt"]
    assert paths(tree, "a/**/*.txt") == ["=x.txt", "=z.txt"]
    assert paths(tree, "[[]1].txt") == ["=[1].txt"]
    with pytest.raises(UsageError, match="no file matches em\\* in"):
        found(tree, "em*")
    with pytest.raises(UsageError, match="no file matches"):
        found(tree / "a", "e*")


def test_exclude(tree: Path):
    assert paths(tree, "a", exclude=["**/*.txt", "b*", "empty/"]) == ["=a", "link", "y.log"]
    assert paths(tree, "*.txt", exclude=["t*"]) == ["=.dot.txt", "=[1].txt", "=one.txt"]
    assert paths(tree, "a", exclude=["*", "!x.txt"]) == ["=a", "x.txt"]
    assert paths(tree, "a", exclude=["b", "!b/z.txt"])[-1] == "b/z.txt"


@pytest.mark.parametrize("name", [".directorignore", ".containerignore", ".dockerignore"])
def test_ignore_files(tree: Path, name: str):
    (tree / "a" / name).write_text("# comment\n\n*.log\n/b\nbroken\n!b/z.txt\n")
    assert paths(tree, "a") == ["=a", name, "empty", "link", "x.txt", "b/z.txt"]


def test_the_first_ignore_file_counts_and_one_at_the_base_serves_folders_below(tree: Path):
    (tree / "a/.dockerignore").write_text("*\n")
    (tree / "a/.directorignore").write_text("b\nbroken\n.*\n")
    assert paths(tree, "a") == ["=a", "empty", "link", "x.txt", "y.log"]
    (tree / "a/.directorignore").unlink()
    (tree / "a/.dockerignore").unlink()
    (tree / ".dockerignore").write_text("a/b\n*.log\na/*.log\n")
    assert paths(tree, "a") == ["=a", "broken", "empty", "link", "x.txt"]
    assert paths(tree / "a", "b") == ["=b", ".hidden", "z.txt"]


def test_parents(tree: Path):
    assert paths(tree, "a/b/z.txt", parents=True) == ["a/b/z.txt"]
    assert paths(tree, "./a/./b/z.txt", parents=True) == ["b/z.txt"]
    assert paths(tree, "./a/b/z.txt", parents=True) == ["a/b/z.txt"]
    assert paths(tree, "a/*/*.txt", parents=True) == ["a/b/z.txt"]
    assert paths(tree, "a/b", parents=True) == ["a/b", "a/b/.hidden", "a/b/z.txt"]
    assert paths(tree / "a", "../one.txt", parents=True) == ["one.txt"]
    assert paths(tree, str(tree / "one.txt"), parents=True) == [str(tree / "one.txt").lstrip("/")]


def test_what_cannot_be_read_is_said(tree: Path):
    with pytest.raises(UsageError, match=r"none\.txt: no such file or folder"):
        found(tree, "none.txt")
    with pytest.raises(UsageError, match="a link to nothing"):
        found(tree, "a/broken")
    with pytest.raises(UsageError, match="Not a directory"):
        found(tree, "one.txt/x")
    with pytest.raises(UsageError, match="null"):
        found(tree, "a\0b")
    os.mkfifo(tree / "a/pipe")
    with pytest.raises(UsageError, match="no plain file"):
        found(tree, "a/pipe")
    with pytest.raises(UsageError, match="leave it out with --exclude"):
        found(tree, "a")
    assert "pipe" not in paths(tree, "a", exclude=["pipe"])


def test_opening_never_follows_a_link_that_took_a_files_place(tree: Path):
    entry = next(each for each in found(tree, "a") if each.path == "x.txt")
    fd = entry.open()
    assert os.read(fd, 99) == b"a/x.txt"
    os.close(fd)
    (tree / "a/x.txt").unlink()
    (tree / "a/x.txt").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="cannot read"):
        entry.open()
    (tree / "a/x.txt").unlink()
    os.mkfifo(tree / "a/x.txt")
    with pytest.raises(UsageError, match="no plain file"):
        entry.open()


def test_names_that_are_not_utf8_come_as_surrogates(tmp_path: Path):
    with open(os.fsencode(tmp_path) + b"/\xff", "wb"):
        pass
    assert paths(tmp_path, ".") == [f"={tmp_path.name}", "\udcff"]


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.txt", ["a.txt", ".txt", "b.txt/x"], ["a/b.txt", "a.txt2"]),
        ("**/*.txt", ["a.txt", "x/y/a.txt"], ["a.log"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["az", "b/z"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("\\*", ["*"], ["a"]),
        ("[", ["["], ["a"]),
        ("/a/", ["a", "a/b"], ["b/a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]):
    rules = Patterns([pattern])
    assert [path for path in (*yes, *no) if rules.match(path)] == yes


def test_a_pattern_that_cannot_be_read_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match=r"^\[z-a\]x: the range z-a in \[z-a\] ends before it begins$"):
        list(expand({"base": str(tmp_path), "pattern": "[z-a]x"}))
    with pytest.raises(UsageError, match="ends before it begins"):
        Patterns(["[z-a]"])
