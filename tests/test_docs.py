"""The documentation is true: every option, verb, state and exit code is in it, and what it shows can be run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness import ROOT, Fleet, clean_environment, tasks_of
from pages import commands

from director import errors, states
from director.cli.unquoted import join_instruction
from director.config.commands import BY_COMMAND, in_flags
from director.config.settings import load
from director.config.table import ACTIONS, SETTINGS
from director.targets import parse
from director.verbs import VERBS

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
DOCS = "\n".join(text for name, text in TEXTS.items() if name != "README.md")
WORDS = "|".join(rf"{word}\\b" for word in BY_COMMAND)
EXAMPLES = ("site.director", "site.yaml", "hello.director")


def director_calls() -> Iterator[str]:
    """The arguments of every `director` command shown on a page."""
    for text in TEXTS.values():
        for command in commands(text):
            found = re.search(rf"(?:^|\$\(|exec (?:--interactive )?director )director ((?:-|{WORDS}).*)", command, re.S)
            if found:
                yield re.split(r"\|\||\s[<>]\s|\)$|&&", found.group(1))[0].strip()


@pytest.mark.parametrize("name", [*(action.name for action in ACTIONS), *(setting.name for setting in SETTINGS)])
def test_every_option_is_documented(name: str) -> None:
    assert re.search(rf"--{name}(?![\w-])", DOCS), f"--{name} is on no page of docs/"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str) -> None:
    assert re.search(rf"\b{verb}\b", TEXTS["verbs.md"])


def test_every_state_is_documented() -> None:
    tasks = set(states.NAMES.values())
    jobs = {states.JOB_QUEUED, states.JOB_RUNNING, *states.JOB_FINAL}
    for heading, wanted in (("States of a task", tasks), ("States of a job", jobs)):
        section = TEXTS["operations.md"].partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert set(re.findall(r"^\| `(\w+)` \|", section, re.M)) == wanted


def test_every_exit_code_is_documented() -> None:
    section = TEXTS["operations.md"].partition("## Exit codes\n")[2].partition("\n## ")[0]
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)}
    assert shown == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[path.name]):
        if target.startswith(("https://", "http://")):
            continue
        target = target.replace("../../actions/", ".github/").removesuffix("/badge.svg")  # GitHub's pages of workflows
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{path.name} links to {target}"


@pytest.mark.parametrize("call", sorted(set(director_calls())))
def test_commands_shown_can_be_parsed(call: str) -> None:
    words = shlex.split(call, comments=True)
    settings = load(join_instruction(in_flags(words)), {"HOME": "/nonexistent", "DIRECTOR_CONFIG_FILE": os.devnull})
    assert settings.action
    assert not settings.warnings


@pytest.mark.parametrize("page", TEXTS)
def test_scripts_shown_exist(page: str) -> None:
    for command in commands(TEXTS[page]):
        for script in re.findall(r"(?:^|\s)(scripts/[\w.-]+)", command):
            assert os.access(ROOT / script, os.X_OK), f"{page} shows {script}"


def test_every_target_shown_can_be_read() -> None:
    section = TEXTS["dsl.md"].partition("## Targets\n")[2].partition("\n## ")[0]
    shown = [text.replace("\\|", "|") for text in re.findall(r"`([^`]+)`", section)]
    whole = [text for text in shown if re.search(r"label:|fact:|^web-|^~.| and |^all$", text)]
    assert len(whole) >= 25
    for text in whole:
        parse(text)


def test_readme_has_the_two_commands() -> None:
    shown = [command.split()[0] for command in commands(TEXTS["README.md"])]
    assert shown[:2] == ["scripts/demo", "scripts/test"]
    assert "scripts/test" in (ROOT / ".ci/run").read_text()


def test_figures_in_the_readme_are_those_of_the_rows() -> None:
    rows = [line.split(" | ") for line in TEXTS["performance.md"].splitlines() if line.startswith("| peers |")]
    peers = {"ansible-core": 2, "salt": 3, "parallel-ssh": 4}
    for work, shown in (("one command on 40", "one command on 40"), ("1000 steps", "1,000 steps")):
        line = next(line for line in TEXTS["README.md"].splitlines() if line.startswith(f"| {shown}"))
        cells = [float(re.sub("[^0-9.]", "", cell) or 0) for cell in line.strip("| ").split(" | ")]
        for row in rows:
            name = next((name for name in peers if f": {name} " in row[1]), None)
            if name and row[1].startswith(work):
                own, other = (float(cell.partition(" s")[0].replace(",", "")) for cell in row[2:4])
                for told, measured in ((cells[1], own), (cells[peers[name]], other)):
                    assert 0.7 < told / measured < 1.4, f"{work}, {name}: README has {told}, the row {measured}"


def test_pictures_are_whole_and_load_nothing() -> None:
    pictures = sorted((ROOT / "docs/images").glob("*.svg"))
    assert {path.stem for path in pictures} == {"minute", "nodes", "file", "wrong", "parts"}
    for path in pictures:
        text = path.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert not re.search(r"(?:href|src)=|url\(['\"]?https?:", text), f"{path.name} loads something"


def test_examples_run(fleet: Fleet) -> None:
    names = fleet.start_clients(2)
    fleet.wait_online(names)
    for example in EXAMPLES:
        root = ["--arg", f"ROOT={fleet.folder / example}", "--arg", "OWNER=somebody"]
        path = str(ROOT / "docs/examples" / example)
        job = fleet.run_json("--orchestrate", path, *root, "--wait")
        assert job["state"] == "success", job
        assert len(list(tasks_of(job))) == job["tasks"]["total"]
    page = fleet.folder / "site.yaml/node-2/index.html"
    assert page.read_text() == (fleet.folder / "site.director/node-2/index.html").read_text()
    assert "belongs to somebody" in page.read_text()


@pytest.mark.slow
def test_the_demonstration_runs_and_cleans_up(tmp_path: Path) -> None:
    env = clean_environment(TMPDIR=str(tmp_path), HOME=str(tmp_path))
    script = str(ROOT / "scripts/demo")
    done = subprocess.run([script], env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("demo-1", "demo-3", "hello", "success", "index.html"):
        assert shown in done.stdout
    assert not list(tmp_path.glob("director-demo*"))
