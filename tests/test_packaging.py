"""What is shipped is whole: the wheel, the requirements, the units, the workflows and the image's recipe."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import syntax
import yaml
from harness import ROOT, clean_environment
from packaging.requirements import Requirement
from shipping import copy_source

import director

MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "director").rglob("*.py"))
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())
WORKFLOWS = sorted((ROOT / ".github/workflows").iterdir())


def required() -> set[str]:
    """The names in requirements.txt, in lower case."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return {re.split(r"[<>=\s]", line)[0].lower() for line in lines if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that pip builds of the sdist alone, in an environment of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "-q", "wheel", "--no-deps", "-w", str(folder), str(sdist)]
    subprocess.run([sys.executable, *build], check=True, cwd=folder, env=clean_environment(), timeout=240)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_sdist_holds_the_whole_source(sdist: Path, tmp_path: Path) -> None:
    source = copy_source(tmp_path / "source")
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made = {name for name in held if name.startswith("director_fleet.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert held - made == files - made


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_wheel_holds_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert sorted(name for name in names if name.endswith(".py")) == MODULES
    data = f"director_fleet-{director.__version__}.data"
    assert {name.split("/")[0] for name in names} == {"director", data}
    assert "director/py.typed" in names
    pages = {name.removeprefix(f"{data}/data/") for name in names if name.startswith(data)}
    assert pages == {"share/man/man1/director.1", "share/man/man7/director-verbs.7"}


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    read = {Path(name).name: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name}
    assert f"\nVersion: {director.__version__}\n" in read["METADATA"]
    assert "\nRequires-Python: >=3.10\n" in read["METADATA"]
    assert "\nName: director-fleet\n" in read["METADATA"]
    tested = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]["strategy"]["matrix"]
    shown = re.findall(r"^Classifier: Programming Language :: Python :: (3\.\d+)$", read["METADATA"], re.M)
    assert shown == tested["python"], "classifiers are the versions that are tested"
    assert "director = director.__main__:program" in read["entry_points.txt"]
    assert "Apache License" in read["LICENSE"]


@syntax.GROUP
def test_every_library_that_is_imported_is_required() -> None:
    modules = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
        for _, node in syntax.nodes()
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    only_types = {"typing_extensions"}  # type checkers know it
    foreign = modules - set(sys.stdlib_module_names) - only_types - {"director", ""}
    called = {"zmq": "pyzmq", "yaml": "pyyaml", "greenlet": "gevent", "re2": "google-re2", "nacl": "pynacl"}
    assert {called.get(name, name) for name in foreign} == required()


def test_the_lock_has_a_version_with_hashes_of_every_requirement() -> None:
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", row) for row in rows)
    locked = dict(row.split()[0].split("==") for row in rows)
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    build = re.findall(r'"(setuptools>\S+)"', (ROOT / "pyproject.toml").read_text())
    for needed in map(Requirement, [*lines, *build]):
        assert needed.specifier.contains(locked[needed.name.lower()]), f"run scripts/lock: {needed}"


def test_pyproject_holds_tool_settings_only() -> None:
    tables = re.findall(r"^\[+([\w.-]+)", (ROOT / "pyproject.toml").read_text(), re.M)
    assert [name for name in tables if name != "build-system" and not name.startswith("tool.")] == []


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_scripts_can_be_run(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert os.access(path, os.X_OK)
    assert second.startswith(("# ", '"""')), "the second line says what the script is for"
    shell = first.split("/")[-1].removeprefix("env ")
    if shell in ("sh", "bash"):
        subprocess.run([shell, "-n", str(path)], check=True)
    else:
        compile(path.read_text(), str(path), "exec")


@pytest.mark.parametrize("role", ["server", "client"])
def test_units_tell_systemd_when_they_are_ready(role: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / f"contrib/systemd/director-{role}.service")
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["ExecStart"].endswith(f"director --{role}")
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert unit["Service"]["StateDirectory"] == f"director/{role}"
    assert "WatchdogSec" in unit["Service"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_what_exists(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    called = re.findall(r"(?<!\S)(scripts/[\w-]+|\.ci/\w+)", "\n".join(step.get("run", "") for step in steps))
    assert called
    for script in called:
        assert os.access(ROOT / script, os.X_OK)
    assert any("bash .ci/run" in step.get("run", "") for step in steps)


def test_the_image_is_made_of_what_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    recipe = (ROOT / "Containerfile").read_text()
    assert recipe.count("ARG BASE_IMAGE=docker.io/library/python:3.12-slim\n") == 1
    for line in re.findall(r"^COPY (?!--from)(.+)$", recipe, re.M):
        for source in line.split()[:-1]:
            assert any(f"{source}/".startswith(f"{path}/") for path in kept), f"{source} is ignored"
            assert (ROOT / source).exists()


def test_publishing_is_skipped_where_no_secrets_are_set() -> None:
    command = [str(ROOT / "scripts/publish-image"), "registry.example.com", ""]
    env = {**clean_environment(), "USERNAME": "", "TOKEN": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "skipped" in done.stdout
