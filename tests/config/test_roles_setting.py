"""The key `roles` of a settings file: what it may hold, and how a mistake is reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT, clean_environment

from director.config import settings
from director.config.roles import Grant, read_roles
from director.config.settings import load
from director.errors import UsageError

WHOLE = """\
port: 6000
roles:
  viewer: ["@noc"]
  operator:
    "@web-team": web-*
    "@domain users": [label:tier=web, db-1]
    eve: all
  admin: root@example.com
"""


def test_grants_are_read_with_their_places(tmp_path: Path) -> None:
    path = str(tmp_path / "d.yaml")
    Path(path).write_text(WHOLE)
    assert read_roles([path]) == (
        Grant("viewer", "@noc", None, f"{path}:3"),
        Grant("operator", "@web-team", "web-*", f"{path}:5"),
        Grant("operator", "@domain users", "label:tier=web", f"{path}:6"),
        Grant("operator", "@domain users", "db-1", f"{path}:6"),
        Grant("operator", "eve", None, f"{path}:7"),
        Grant("admin", "root@example.com", None, f"{path}:8"),
    )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("roles: yes", 1, "roles is no mapping"),
        ("roles:", 1, "roles is no mapping"),
        ("roles: {}", 1, "gives nobody a role"),
        ("roles:\n  viewer: []", 2, "gives nobody a role"),
        ("roles:\n  boss: [ann]", 2, "boss is no role; expected viewer, operator, enroller, admin"),
        ("roles:\n  admin: {ann: web-*}", 2, "an admin has all nodes"),
        ("roles:\n  viewer: ['ann, bob']", 2, "'ann, bob' names nobody"),
        ("roles:\n  viewer: ['@@noc']", 2, "'@@noc' names nobody"),
        ("roles:\n  viewer: ['ann ']", 2, "'ann ' names nobody"),
        ("roles:\n  viewer: ['@']", 2, "'@' names nobody"),
        ("roles:\n  viewer: [[ann]]", 2, "viewer has a wrong value"),
        ("roles:\n  viewer: ['']", 2, "viewer has a wrong value"),
        ("roles:\n  viewer:\n", 2, "viewer has a wrong value"),
        ("roles:\n  operator:\n    ann:\n", 3, "the nodes of ann are no text"),
        ("roles:\n  operator:\n    ann: {a: b}", 3, "the nodes of ann are no text"),
        ("roles:\n  viewer: [ann]\n  viewer: [bob]", 3, "there twice"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_roles([str(path)])
    assert str(caught.value).startswith(f"{path}:{line}: ") and said in str(caught.value)


def test_only_a_server_reads_roles_and_the_last_file_counts(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(WHOLE)
    named = ["--config-file", str(tmp_path / "d.yaml")]
    found = load(["--server", *named], {})
    assert found.port == 6000 and found.roles and found.roles[0].who == "@noc"
    assert load(named, {"DIRECTOR_MODE": "server"}).roles == found.roles
    assert load(["--list-jobs", *named], {}).roles is None
    (tmp_path / "later.yaml").write_text("roles: {admin: ann}")
    files = [str(tmp_path / "d.yaml"), str(tmp_path / "later.yaml")]
    assert [grant.who for grant in read_roles(files) or ()] == ["ann"]
    (tmp_path / "d.yaml").write_text("port: 1")
    assert load(["--server", *named], {}).roles is None


def test_roles_are_no_flag_and_no_variable() -> None:
    with pytest.raises(UsageError, match="there is no option --roles"):
        load(["--server", "--roles", "x"], {})
    assert load(["--server"], {"DIRECTOR_ROLES": "x", "DIRECTOR_CONFIG_FILE": "/dev/null"}).warnings


def test_a_call_passes_over_roles_without_the_parser_of_yaml(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(WHOLE.replace("port:", "limit: 7\nport:") + "\n# the end\noutput: json\n")
    code = "import sys; from director.config.settings import load; s = load(sys.argv[1:]); "
    code += "print(s.limit, s.output, s.roles, 'yaml' in sys.modules)"
    words = [sys.executable, "-c", code, "--list-jobs", "--config-file", str(tmp_path / "d.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=clean_environment(), cwd=ROOT)
    assert done.stdout == "7 json None False\n"


def test_a_server_refuses_a_file_that_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.yaml").write_text(WHOLE)
    monkeypatch.setattr(settings, "DEFAULT_FILES", (str(tmp_path / "d.yaml"),))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root can read everything
    assert load(["--list-jobs"], {}).warnings == (f"{tmp_path / 'd.yaml'} cannot be read and is left out",)
    with pytest.raises(UsageError, match="cannot be read, and may say who has which role"):
        load(["--server"], {})
