"""Facts in files: which files count, and that none can break a client."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import ujson

from director.agent import facts, local_facts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of facts, below the root `tmp_path`."""
    made = tmp_path / "etc/director/facts.d"
    made.mkdir(parents=True, mode=0o755)
    made.chmod(0o755)
    return made


def put(path: Path, content: str | bytes, mode: int = 0o644) -> Path:
    """Write a file."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def read(folder: Path) -> dict[str, Any]:
    """The facts in it."""
    return local_facts.read(str(folder.parent.parent.parent))


def test_files_are_facts_by_name(folder: Path) -> None:
    put(folder / "rack.json", '{"row": 3, "at": {"site": "zürich"}}')
    put(folder / "tags-1.json", '["a", null, true, 1.5]')
    put(folder / "README", "no")
    assert read(folder) == {"rack": {"row": 3, "at": {"site": "zürich"}}, "tags-1": ["a", None, True, 1.5]}


def test_no_folder_no_facts(tmp_path: Path) -> None:
    assert local_facts.read(str(tmp_path)) == {} and "local" in facts.read()


BAD: list[tuple[str, bytes, str]] = [
    ("a.json", b"{", "is left out of the facts: Expecting property name"),
    ("a.json", b"\xff", "invalid start byte"),
    ("a.json", b"[NaN]", "NaN is no number of JSON"),
    ("a.json", b"[1e999]", "not JSON compliant"),
    ("a.json", b'["\\ud800"]', "surrogates not allowed"),
    ("a.json", b"[" * 40 + b"]" * 40, "nested more than 32 deep"),
    ("a.json", b"[" * 30_000 + b"]" * 30_000, "recursion"),
    ("a.b.json", b"1", "expected letters, digits"),
    ("a.json", json.dumps("x" * 65536).encode(), "more than 64 KiB together"),
]


@pytest.mark.parametrize(("name", "content", "why"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_logged_once_and_left_out(
    name: str, content: bytes, why: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder / "good.json", "1")
    put(folder / name, content)
    with caplog.at_level(logging.WARNING):
        assert read(folder) == read(folder) == {"good": 1}
    (line,) = caplog.messages
    assert f"{folder}/{name} is left out" in line and why in line


def test_whatever_counts_fits_a_message(folder: Path) -> None:
    put(folder / "big.json", "[" * 31 + str(10**30) + "]" * 31)
    put(folder / "text.json", json.dumps("\0" * 5000))
    for _ in range(2):
        found = read(folder)
        assert ujson.loads(ujson.dumps({"facts": {"local": found}})) == {"facts": {"local": found}}


def test_what_others_may_have_written_does_not_count(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(folder / "good.json", "1")
    put(folder / "group.json", "1", 0o664)
    put(folder / "world.json", "1", 0o646)
    (folder / "link.json").symlink_to(folder / "good.json")
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "fifo.json", 0o644)
    if os.geteuid() == 0:
        os.chown(put(folder / "user.json", "1"), 12345, 12345)
    with caplog.at_level(logging.WARNING):
        assert read(folder) == {"good": 1}
    assert len(caplog.messages) == (6 if os.geteuid() == 0 else 5)
    folder.chmod(0o777)
    assert read(folder) == {}
    folder.chmod(0o755)
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")
    assert read(folder) == {}


def test_only_so_many_files_count(folder: Path) -> None:
    for number in range(local_facts.FILES + 3):
        put(folder / f"f{number:03}.json", str(number))
    assert list(read(folder).values()) == list(range(local_facts.FILES))
