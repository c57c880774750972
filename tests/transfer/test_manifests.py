"""Lists of files are checked before a row of them is used, whoever sent them."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

import pytest

from director.errors import VerbError
from director.transfer.manifests import check

DIGEST = "0" * 64
DEEP_ROWS = """
from director.transfer.manifests import check
check([["file", f"{n}/" + "/".join("a" * 2040), 0o644, 1, "0" * 64, "", ""] for n in range(1000)], own=True)
"""


def row(path: str, kind: str = "file") -> list[Any]:
    return [kind, path, 0o644, 0, DIGEST if kind == "file" else "", "", ""]


@pytest.mark.parametrize(
    ("rows", "below"),
    [
        ([row("a"), row("a/b")], "'a/b' is below 'a'"),
        ([row("a/b/c/d"), row("a!"), row("a.b/c"), row("a/b")], "'a/b/c/d' is below 'a/b'"),
        ([row("a", "link"), row("a!"), row("a-b"), row("a0/x"), row("a/x", "dir")], "'a/x' is below 'a'"),
    ],
)
def test_nothing_is_below_a_file_or_a_link(rows: list[Any], below: str) -> None:
    for given in (rows, rows[::-1]):
        with pytest.raises(VerbError, match=f"{below}, which is no folder"):
            check(given)


def test_names_that_begin_as_others_do_are_no_folders() -> None:
    rows = [row("a"), row("a.b/c"), row("a-b", "dir"), row("a-b/c"), row("ab/c"), row("b", "dir"), row("b/a/c")]
    for given in (rows, rows[::-1]):
        assert check(given) == given
    assert check([["file", "", 0o644, 0, DIGEST, "", "a"], row("b/c")])


def test_deep_paths_take_little_memory() -> None:
    """Each has two thousand folders; all of them together would be 4 GiB of text."""
    limit = 512 << 20

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run([sys.executable, "-c", DEEP_ROWS], capture_output=True, text=True, preexec_fn=bound)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_list_of_another_machine_makes_no_more_folders_than_it_may_have_rows() -> None:
    deep = "/".join("a" * 250)
    assert check([row(f"{n}/{deep}/{file}") for n in range(300) for file in "xy"])
    with pytest.raises(VerbError, match="more than 100000 folders"):
        check([row(f"{n}/{deep}") for n in range(500)])
    with pytest.raises(VerbError, match="more than 256 names"):
        check([row(f"{deep}/b/c/d/e/f/g/h")])
    assert check([row(f"{deep}/b/c/d/e/f/g"), row(f"{deep}/b/c/d/e/f/h")])
