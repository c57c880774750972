"""The tests themselves: none depends on the machine's speed, and scripts/test leaves nothing behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import ROOT, clean_environment
from hypothesis import HealthCheck, settings


def run_tests(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/test with `tmp_path/tmp` as the temporary folder, and locks of its own."""
    place = tmp_path / "tmp"
    place.mkdir()
    command = [str(ROOT / "scripts/test"), "-q", "-o", f"cache_dir={tmp_path}/cache", *args]
    env = clean_environment(TMPDIR=str(place))
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)


def test_no_example_of_hypothesis_has_a_deadline() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check


@pytest.mark.slow
def test_a_run_leaves_nothing_behind(tmp_path: Path) -> None:
    files = ("tests/runtime/test_durable.py", "tests/transfer/test_blobs.py", "tests/e2e/test_history.py")
    done = run_tests(tmp_path, "-n", "2", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_what_a_test_leaves_behind_is_said(tmp_path: Path) -> None:
    untidy = tmp_path / "test_untidy.py"
    untidy.write_text("import tempfile\n\n\ndef test_untidy():\n    tempfile.mkstemp(prefix='untidy-')\n")
    done = run_tests(tmp_path, str(untidy))
    assert done.returncode == 1
    assert "left in the temporary folder: untidy-" in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
