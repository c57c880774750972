"""The project as it is shipped: a copy of its source, and the source distribution built of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from harness import ROOT, clean_environment

NOT_SOURCE = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist", ".coverage")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def copy_source(folder: Path) -> Path:
    """Copy the checkout to a new folder without what is made in it; the folder."""
    return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_SOURCE), symlinks=True))


def build_sdist(folder: Path) -> Path:
    """Build the source distribution in an empty folder, of a copy so that the checkout stays clean; the archive."""
    source = copy_source(folder / "source")
    command = [sys.executable, "-c", BUILD, str(folder)]
    subprocess.run(command, cwd=source, env=clean_environment(), check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.tar.gz"))
