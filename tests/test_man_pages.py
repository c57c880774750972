"""The manual pages are what the tables say, and man renders them without a warning."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from harness import ROOT, clean_environment
from programs import require

from director.config.table import ACTIONS, SETTINGS
from director.verbs import VERBS

PAGES = [ROOT / "contrib/man" / name for name in ("director.1", "director-verbs.7")]


def rendered(path: object) -> str:
    """What man shows, 80 columns wide; it must have no warnings."""
    env = clean_environment(MANWIDTH="80", MANROFFOPT="-ww", LC_ALL="C.UTF-8")
    command = [require("man", "man-db"), "--warnings", "-l", "-P", "cat", str(path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)


def test_they_are_made_of_the_tables() -> None:
    command = [sys.executable, str(ROOT / "scripts/man-pages"), "--print"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert made == "".join(path.read_text(encoding="utf-8") for path in PAGES), "run scripts/docs"


def test_man_renders_every_action_and_setting() -> None:
    text = rendered(PAGES[0])
    for name in ("NAME", "SYNOPSIS", "ACTIONS", "OPTIONS", "EXIT STATUS", "FILES", "SEE ALSO"):
        assert re.search(rf"^{name}$", text, re.M)
    for thing in (*ACTIONS, *SETTINGS):
        assert f"--{thing.name}" in text
    assert "director --exec 'RUN uptime' --wait" in text


@pytest.mark.parametrize("verb", VERBS)
def test_man_has_every_verb(verb: str) -> None:
    assert f"\n.SH {verb}\n" in PAGES[1].read_text(encoding="utf-8")


def test_man_renders_the_verbs() -> None:
    text = rendered(PAGES[1])
    assert re.search(r"^COPY$", text, re.M) and "--chown USER[:GROUP]" in text
