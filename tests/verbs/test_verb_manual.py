"""Every verb has a manual that names its flags, and docs/verbs.md is made of the manuals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from director import verbs
from director.verbs.base import COMMON_FLAGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", [*verbs.VERBS, *verbs.ALIASES])
def test_manual(name: str) -> None:
    text = verbs.manual(name)
    verb = verbs.load(name)
    assert verb.name == verbs.ALIASES.get(name, name)
    assert verb.name in text.splitlines()[0]
    for flag in (*verb.flags, *COMMON_FLAGS):
        assert f"--{flag.name}" in text
        assert flag.help


def test_docs_are_made_of_the_docstrings() -> None:
    done = subprocess.run([ROOT / "scripts/docs", "-"], stdout=subprocess.PIPE, text=True, check=True)
    assert (ROOT / "docs/verbs.md").read_text() == done.stdout, "run scripts/docs"


def test_flags_by_name_and_alias() -> None:
    table = {name: verb.flag_table for name, verb in verbs.every().items()}
    assert table["RUN"]["retries"] is table["RUN"]["retry"]
    assert table["APT"] == table["PACKAGE"]
    assert table["HEALTHCHECK"]["timeout"].default == 30.0
    assert table["RUN"]["timeout"] in COMMON_FLAGS


def test_nothing_heavy_is_imported() -> None:
    """A planner loads all verbs at its start, the CLI one manual."""
    code = (
        "import sys; from director import verbs; verbs.every(); verbs.manual('RUN');"
        "print(sorted(sys.modules.keys() & {'jinja2', 'yaml', 'psutil', 'gevent', 'zmq', 'ssl', 'http.client'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
