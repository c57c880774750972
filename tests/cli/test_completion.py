"""What a shell is told: actions, options, values, names of files, and names of nodes and jobs that the server has."""

from __future__ import annotations

import pytest
from cli.conftest import Run
from cli.fake_server import FakeServer, body, job

from director.cli.completion import FILES, candidates
from director.config.table import ACTIONS


def words(*before: str) -> list[str]:
    """The candidates for the last of these words."""
    return [word for word, _ in candidates(before[:-1], before[-1])]


def test_actions_as_words_and_as_flags():
    assert words("") == [action.command for action in ACTIONS]
    assert words("can") == ["cancel"]
    assert "--cancel-job" in words("--ca")
    assert all(about for _, about in candidates([], ""))


def test_options_are_those_of_the_action():
    assert words("jobs", "--st") == ["--state-dir", "--state"] or set(words("jobs", "--st")) == {
        "--state",
        "--state-dir",
    }
    assert words("exec", "RUN x", "--tar") == ["--target"]
    assert words("jobs", "--tar") == []


@pytest.mark.parametrize(
    ("before", "found"),
    [
        (["jobs", "--output", "j"], ["json", "jsonl"]),
        (["jobs", "-o", "js"], ["json", "jsonl"]),
        (["jobs", "--output=c"], ["--output=csv"]),
        (["jobs", "--state", "f"], ["failed"]),
        (["nodes", "--state", "of"], ["offline"]),
        (["--list-nodes", "--state", "of"], ["offline"]),
        (["exec", "ru"], ["RUN"]),
        (["--exec", "CACHEE"], ["CACHEEVICT"]),
        (["completion", "f"], ["fish"]),
        (["info", "a", ""], []),
        (["jobs", "--limit", ""], []),
    ],
)
def test_values(before: list[str], found: list[str]):
    assert words(*before) == found


@pytest.mark.parametrize(
    "before",
    [["run", ""], ["plan", "x"], ["export", ""], ["jobs", "--config-file", ""], ["jobs", "--config-file="],
     ["exec", "RUN", "ls", "/e"]],
)  # fmt: skip
def test_names_of_files_are_the_shells_work(before: list[str]):
    assert candidates(before[:-1], before[-1]) == FILES


def test_names_of_nodes(server: FakeServer, run: Run):
    server.handlers["list-nodes"] = body([{"id": f"web-{n}", "state": "online"} for n in (1, 2)])
    for line, found in (
        ("director exec 'RUN x' -t web-", "web-1\nweb-2\n"),
        ("director exec 'RUN x' --target=db-1,web-", "db-1,web-1\ndb-1,web-2\n"),
        ("director node web-2", "web-2\n"),
        ("director label-node web-1 ti", ""),
        ("director exec 'RUN x' -t label:ti", ""),
        ("director exec 'RUN unclosed", ""),
    ):
        done = run("--complete", "bash", line)
        assert (done.stdout, done.stderr, done.returncode) == (found, "", 0), line
    assert [request["node"] for request in server.requests] == ["web-*", "web-*", "web-2*"]


def test_ids_of_jobs_with_their_names(server: FakeServer, run: Run):
    rows = [job("a" * 16), job("b" * 16, "running"), job("c" * 16)]
    server.handlers["list-jobs"] = body(rows)
    found = run("--complete", "fish", "info", "").stdout.splitlines()
    assert found == [*(f"{row['id']}\t{row['state']} RUN uptime" for row in rows[::-1]), "last\tthe newest job"]
    assert run("--complete", "zsh", "cancel", "b").stdout == f"{'b' * 16}:running RUN uptime\n"
    assert run("--complete", "bash", "director resume ").stdout == f"{'c' * 16}\n{'a' * 16}\nlast\n"


def test_without_a_server_there_are_no_names(run: Run):
    done = run("--complete", "bash", "director info a")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_shell_without_a_script_is_refused(run: Run):
    done = run("completion", "bish")
    assert (done.returncode, done.stderr) == (
        2, "director: --completion: 'bish' is none of bash, zsh, fish; did you mean fish?\n",
    )  # fmt: skip
