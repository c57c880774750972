"""Podman for tests: installed where it can be, in the environment it needs; else a plain word why there is none."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from harness import ROOT, clean_environment

# prepares podman where no image registry is reached; beside the checkout, or beside the folder of several checkouts
HELPERS = [folder / "shared/tools/container-env" for folder in ROOT.parents[:2]]
PACKAGES = ("podman", "runc", "catatonit", "iptables")


def prepared_environment() -> dict[str, str]:
    """The environment podman needs, from the helper where there is one."""
    env = clean_environment()
    helper = next((path for path in HELPERS if path.exists()), None)
    if helper and os.getuid() == 0:
        script = f'eval "$({helper})" && env -0'
        done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{helper} failed:\n{done.stderr[-3000:]}"
        env = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if "=" in pair)
    return env


def install_podman() -> None:
    """Install podman on a Debian machine, as root."""
    env = clean_environment(DEBIAN_FRONTEND="noninteractive")
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"apt-get {' '.join(command)}:\n{done.stderr[-3000:]}"


class Podman:
    """Podman commands in a prepared environment."""

    def __init__(self) -> None:
        self.env = prepared_environment()

    def __call__(self, *args: str, timeout: float = 120) -> str:
        """Run `podman ARGS` and return what it printed; it must succeed."""
        done = self.run(*args, timeout=timeout)
        assert done.returncode == 0, f"podman {' '.join(args)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def run(self, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `podman ARGS`, whatever becomes of it."""
        command = ["podman", *args]
        return subprocess.run(
            command, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )

    def build_flags(self) -> list[str]:
        """What `podman build` needs here beside the documented words."""
        base = ["--build-arg", f"BASE_IMAGE={self.env['BASE_IMAGE']}"] if "BASE_IMAGE" in self.env else []
        return [*self.env.get("PODMAN_BUILD_FLAGS", "").split(), *base]

    def build(self, image: str, *recipe: str) -> None:
        """Build an image of a recipe: the options of `podman build` that name it, and the folder where needed."""
        done = self.run("build", *self.build_flags(), "-t", image, *recipe, timeout=420)
        if done.returncode and "BASE_IMAGE" not in self.env and "pinging container registry" in done.stderr:
            pytest.skip("CONTAINERS NOT TESTED: no image registry is reached, and nothing offers a base image")
        assert done.returncode == 0, f"podman build:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def ready_podman() -> Podman:
    """Podman, ready to run; the test is skipped, and says why, only where that cannot be."""
    ready = Podman()
    if not shutil.which("podman", path=ready.env["PATH"]):
        if os.getuid() or not shutil.which("apt-get"):
            pytest.skip("CONTAINERS NOT TESTED: podman is not installed; only root on Debian can have the tests do it")
        install_podman()
    info = ready.run("info")
    if info.returncode:
        pytest.skip(f"CONTAINERS NOT TESTED: podman cannot run here: {info.stderr.strip()[-300:]}")
    return ready
