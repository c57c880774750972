"""Programs that tests need and a machine may lack: installed where they can be, else a plain word why not."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from harness import clean_environment


def require(program: str, package: str) -> str:
    """The path of a program; it is installed on Debian as root. The test is skipped only where that cannot be."""
    if not shutil.which(program):
        if os.getuid() or not shutil.which("apt-get"):
            pytest.skip(f"NOT TESTED: {program} is not installed; only root on Debian can have the tests do it")
        env = clean_environment(DEBIAN_FRONTEND="noninteractive")
        wait = ["-o", "DPkg::Lock::Timeout=300"]
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
            done = subprocess.run(["apt-get", *wait, *command], env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"apt-get {' '.join(command)}:\n{done.stderr[-3000:]}"
    return shutil.which(program) or program
