"""Many small files to one node: into a new folder and over an existing one, against tar, on a fresh file system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benches.bench import Bench, say
from benches.fleet import Fleet
from benches.row import Row, paired


def small_files(bench: Bench) -> Iterator[Row]:
    """Each run with new contents in new folders; all is on the same file system."""
    count = bench.pick(50_000, 5_000, 200)
    new, over, tars, synced = [], [], [], []
    with _fresh(bench) as folder, Fleet(folder) as fleet:
        fleet.start_server()
        fleet.start_clients(1, 1)
        source, file = fleet.folder / "source", fleet.folder / "copy.director"
        for number in range(bench.runs):
            _fill(source, count)
            out = fleet.folder / f"out-{number}"
            tars.append(_tar(source, fleet.folder / f"tar-{number}"))
            synced.append(_tar(source, fleet.folder / f"synced-{number}", " && sync -f ."))
            file.write_text(f"COPY source {out}/\n")
            new.append(fleet.timed("--orchestrate", str(file), "--no-cache", "--wait"))
            _fill(source, count)
            over.append(fleet.timed("--orchestrate", str(file), "--no-cache", "--wait"))
            subprocess.run(["diff", "-r", source, out], check=True)
            say(f"files: {count} small ones {new[-1]:.2f} s, over {over[-1]:.2f} s, "
                f"tar {tars[-1]:.2f} s, with sync {synced[-1]:.2f} s")  # fmt: skip
    work = f"COPY of {count} files of 1 KiB to one node"
    yield paired("files", f"{work}, a new folder", "s", "tar | tar", new, tars, bar=2.0)
    yield paired("files", f"{work}, a new folder", "s", "tar | tar, sync -f", new, synced, bar=1.2)
    yield paired("files", f"{work}, over an existing folder", "s", "tar | tar", over, tars, bar=3.0)


@contextlib.contextmanager
def _fresh(bench: Bench) -> Iterator[Path]:
    """A folder on a new file system where this user may mount one: a used folder makes new files slow."""
    place = bench.place()
    image, folder = place / "image", place / "new"
    folder.mkdir()
    mounted = False
    if os.geteuid() == 0:
        with open(image, "wb") as file:
            file.truncate(8 << 30)
        commands = (["mkfs.ext4", "-q", "-F", "-N", "1000000", image], ["mount", "-o", "loop", image, folder])
        mounted = all(subprocess.run(words, capture_output=True, check=False).returncode == 0 for words in commands)
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
        image.unlink(missing_ok=True)


def _fill(source: Path, count: int) -> None:
    """Files in folders of a thousand each, with new contents."""
    for number in range(count):
        folder = source / f"{number // 1000}"
        if number % 1000 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number}").write_bytes(os.urandom(1024))


def _tar(source: Path, out: Path, then: str = "") -> float:
    """Seconds of `tar | tar` into a new folder."""
    out.mkdir()
    began = time.perf_counter()
    command = f"tar -C '{source}' -cf - . | tar -xf -{then}"
    subprocess.run(["sh", "-c", command], cwd=out, check=True)
    return time.perf_counter() - began
