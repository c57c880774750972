"""Secrets of a submission: as a variable, as a file, in a blueprint, made by a step; not given, resumed."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import SECRET, Fleet, wait_until

from director.process.spawn import CAP

VALUE = SECRET
NOBODY = pwd.getpwnam("nobody")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs commands as other users")


def given(folder: Path, value: str = VALUE) -> list[str]:
    """The options that give the secret `db` from a file."""
    file = folder / "secret.txt"
    file.write_text(f"{value}\n")
    return ["--secret", f"id=db,src={file}"]


def outputs(job: dict[str, Any]) -> list[str]:
    """The standard output of each step on its first node."""
    return [step["tasks"][0]["stdout"] for step in job["steps"]]


def ran(fleet: Fleet, text: str, *more: str, exit_code: int = 0, env: dict[str, str] | None = None) -> dict[str, Any]:
    """The job of a text on the first node."""
    words = ("--exec", text, "--wait", "--target", "node-1", *more)
    job: dict[str, Any] = fleet.run_json(*words, exit_code=exit_code, env=env)
    return job


def test_a_command_has_it_as_a_variable_and_as_a_file_while_it_runs(trio: Fleet, tmp_path: Path) -> None:
    there = tmp_path / "in" / "db"
    job = ran(
        trio,
        f"""RUN --mount=type=secret,id=db,env=PW printf '%s' "$PW" | wc -c
        RUN --mount=type=secret,id=db,target={there} wc -c < {there}; stat -L -c %a {there}; df --output=fstype {there}
        RUN --mount=type=secret,id=db,env=PW echo "it is $PW"; echo "$PW" >&2
        RUN test ! -e {there} && test -z "$PW"
        ECHO after {{{{ '{VALUE[:6]}' ~ '{VALUE[6:]}' }}}} nothing shows it""",
        *given(tmp_path),
    )
    count, file, shown, _, after = outputs(job)
    assert count.strip() == str(len(VALUE)) and file.split()[:2] == [str(len(VALUE) + 1), "400"]
    assert file.split()[-1] == "tmpfs"
    assert shown == "it is ***\n" and job["steps"][2]["tasks"][0]["stderr"] == "***\n"
    assert after == "after *** nothing shows it", "whoever knows it"


def test_two_secrets_at_one_place_fail_and_a_step_waits_for_a_place_no_longer_than_its_time(
    trio: Fleet, tmp_path: Path
) -> None:
    there, more = tmp_path / "db", given(tmp_path)
    mount = f"--mount=type=secret,id=db,target={there}"
    task = ran(trio, f"RUN {mount} {mount} true", *more, exit_code=1)["steps"][0]["tasks"][0]
    assert "exists already; expected another target" in task["reason"]
    held = trio.submit("--exec", f"RUN {mount} sleep 60", "--target", "node-1", *more)
    wait_until(there.exists, "the first step has the place")
    task = ran(trio, f"RUN --timeout 1s {mount} true", *more, exit_code=1)["steps"][0]["tasks"][0]
    assert task["state"] == "timeout"
    trio.director("--cancel-job", held)
    trio.wait_job(held)


def test_the_reason_of_a_step_that_makes_a_secret_has_no_part_of_it(trio: Fleet) -> None:
    job = ran(
        trio,
        """ARG --secret TOKEN
        RUN --stdout-arg TOKEN t=$(printf %0400d 7); echo $t; echo "+ echo $t" >&2; exit 1""",
        exit_code=1,
    )
    task = job["steps"][1]["tasks"][0]
    assert task["reason"] == "exit code 1" and task["stderr"] == "+ echo ***\n"


def test_a_value_that_the_bound_of_an_output_divides_is_masked_where_a_step_makes_another(
    trio: Fleet, tmp_path: Path
) -> None:
    job = ran(
        trio,
        f"""ARG --secret TOKEN
        RUN --mount=type=secret,id=db,env=PW --stdout-arg TOKEN echo made-$((40 + 2))-here; \\
            head -c {CAP // 2 - 10} /dev/zero >&2; printf %s "$PW" >&2; head -c {CAP} /dev/zero >&2""",
        *given(tmp_path),
    )
    task = job["steps"][1]["tasks"][0]
    assert task["truncated"] and task["stdout"] == "***" and VALUE[:5] not in task["stderr"] and "***" in task["stderr"]


@AS_ROOT
def test_a_user_reads_its_own_file_and_gets_little_of_the_clients_environment(trio: Fleet, tmp_path: Path) -> None:
    path = "/run/secrets/db"
    job = ran(
        trio,
        f"""USER nobody
        WORKDIR /
        RUN --mount=type=secret,id=db id -un; wc -c < {path}; stat -L -c '%U %a' {path}; env""",
        *given(tmp_path),
    )
    name, size, owner, *env = outputs(job)[2].splitlines()
    assert (name, size, owner) == ("nobody", str(len(VALUE) + 1), "nobody 400")
    assert {line.partition("=")[0] for line in env} <= {
        "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM", "HOME", "USER", "LOGNAME", "PWD", "SHLVL", "_", "OLDPWD",
        "DIRECTOR_NODE", "DIRECTOR_JOB", "DIRECTOR_TASK",
    }  # fmt: skip


def test_a_blueprint_has_it_and_the_plan_shows_nothing_of_it(trio: Fleet, tmp_path: Path) -> None:
    dest, source = tmp_path / "app.conf", tmp_path / "app.in"
    source.write_text("password={{ secret('db') }}\nnode={{ node.id }}\n")
    file = tmp_path / "site.director"
    file.write_text(
        f"COPY --blueprint --chmod=0600 {source} {dest}\nCOPY <<x {dest}2\n{{{{ secret('db') }}}}\nx\nRUN cat {dest}\n"
    )
    words = ("--orchestrate", str(file), "--wait", "--target", "node-1")
    job = trio.run_json(*words, *given(tmp_path))
    assert (
        dest.read_text() == f"password={VALUE}\nnode=node-1\n" and (tmp_path / "app.conf2").read_text() == f"{VALUE}\n"
    )
    assert outputs(job)[2] == "password=***\nnode=node-1\n"
    planned = trio.run_json("--plan", str(file), "--target", "node-1", *given(tmp_path))
    assert planned["steps"][0]["nodes"][0]["action"] == "unknown" and "diff" not in str(planned)
    again = trio.run_json(*words, *given(tmp_path))
    assert [step["tasks"][0]["state"] for step in again["steps"]] == ["cached"] * 3
    trio.run_json(*words, *given(tmp_path, "another-value"))
    assert dest.read_text().startswith("password=another-value\n")


@pytest.mark.parametrize(
    ("text", "options", "wrong"),
    [
        ("RUN --mount=type=secret,id=db,env=X true", [], "exec:1: the secret db is not given; add --secret id=db,"),
        ("RUN echo {{ secret('db') }}", ["--secret", "id=db,env=HOME"], "RUN --mount=type=secret,id=db,env=VARIABLE"),
        ("ARG --secret X=1", [], "the text of a job is kept in clear"),
        ("ARG --secret X", ["--arg", "X=1"], "--arg X=… is kept in clear"),
        ("RUN --no-block --mount=type=secret,id=db,env=X true", ["--secret", "id=db,env=HOME"], "--no-block goes on"),
        ("RUN true", ["--secret", "id=db,env=NO_SUCH_VARIABLE"], "there is no variable NO_SUCH_VARIABLE"),
        ("RUN true", ["--secret", "id=db"], "expected id=NAME,src=FILE or id=NAME,env=VARIABLE"),
        ("RUN true", ["--secret", "id=db,src=/dev/zero"], "larger than 64 KiB"),
        ("RUN true", ["--secret", "id=db,src=/dev/null"], "less than 4 bytes"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(trio: Fleet, text: str, options: list[str], wrong: str) -> None:
    done = trio.director("--exec", text, "--target", "node-1", *options)
    assert done.returncode == 2 and wrong in done.stderr and len(done.stderr.splitlines()) == 1


def test_nodes_that_choose_themselves_get_none(trio: Fleet, tmp_path: Path) -> None:
    step = "\nRUN --mount=type=secret,id=db,env=X true"
    done = trio.director("--exec", f"FROM fact:cpu.count>0{step}", *given(tmp_path))
    assert done.returncode == 2 and "chosen by facts" in done.stderr
    assert trio.director("--exec", f"FROM node-* and fact:cpu.count>0{step}", *given(tmp_path)).returncode == 0


def test_a_resumed_job_needs_it_again(trio: Fleet, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    job = ran(
        trio,
        f"""RUN --mount=type=secret,id=db,env=PW test -n "$PW"
        RUN --mount=type=secret,id=db,env=PW test -e {flag} && echo "$PW" """,
        *given(tmp_path), exit_code=1,
    )  # fmt: skip
    flag.touch()
    done = trio.director("--resume", job["id"])
    assert done.returncode == 2 and "add --secret id=db" in done.stderr
    again = trio.run_json("--resume", job["id"], "--wait", *given(tmp_path))
    assert [step["tasks"][0]["state"] for step in again["steps"]] == ["cached", "success"]
    assert outputs(again)[1] == "***\n"


def test_what_a_step_makes_is_masked_and_not_remembered(trio: Fleet, tmp_path: Path) -> None:
    job = ran(
        trio,
        """ARG --secret TOKEN
        RUN --stdout-arg TOKEN echo made-$((40 + 2))-here
        RUN test "$TOKEN" = made-42-"here" && echo "$TOKEN and made-42-""here"
        ENV URL=http://user:$TOKEN@host
        RUN echo "$URL" | wc -c
        QUERY TOKEN
        RUN echo {{ TOKEN }}""",
        exit_code=1,
    )
    *shown, last = (step["tasks"][0] for step in job["steps"])
    assert [task["stdout"].strip() for task in shown[1:5]] == ["***", "*** and ***", "", "30"]
    assert shown[5]["stdout"].strip() in ("{}", "") and last["state"] == "failed"
    assert "arguments of a process" in last["reason"]
    assert "made-42-here" not in str(trio.run_json("--node-info", "node-1"))


def test_a_value_of_arg_goes_only_to_nodes_whose_steps_use_it(trio: Fleet) -> None:
    text = "FROM node-1\nRUN echo {{ FIRST }}\nFROM node-2\nARG SECOND\nRUN echo $SECOND"
    values = {"FIRST": "only-for-node-one", "SECOND": "only-for-node-two"}
    words = [word for name, value in values.items() for word in ("--arg", f"{name}={value}")]
    job = trio.run_json("--exec", text, "--wait", *words)
    assert outputs(job) == ["only-for-node-one\n", "", "only-for-node-two\n"]
    trio.run_json("--plan", "--exec", text, *words)
    for name, other in (("node-1", "SECOND"), ("node-2", "FIRST")):
        journal = (trio.folder / name / "client" / "journal").read_bytes()
        assert values[other].encode() not in journal


def test_a_rotation_loses_no_secret(trio: Fleet, tmp_path: Path) -> None:
    flag, former = tmp_path / "flag", trio.nodes()["node-3"]["key"]
    text = f'RUN until test -e {flag}; do sleep 0.1; done\nRUN --mount=type=secret,id=db,env=PW test -n "$PW"'
    job = trio.submit("--exec", text, "--target", "node-3", *given(tmp_path))
    assert trio.director("--rotate-key", "node-3").returncode == 0
    wait_until(lambda: trio.nodes()["node-3"]["key"] != former, "its key is replaced")
    flag.touch()
    assert trio.wait_job(job)["state"] == "success"


def test_tasks_with_secrets_do_not_go_to_a_new_key(fleet: Fleet, tmp_path: Path) -> None:
    token = fleet.submit("--create-token", "--reusable")
    words = ["--client", "--identity", "web", "--state-dir", str(fleet.folder / "web")]
    fleet.spawn("web", words, {"DIRECTOR_TOKEN": token})
    fleet.wait_online(["web"])
    fleet.stop("web")
    step = "RUN --mount=type=secret,id=db,env=PW true"
    jobs = [
        fleet.submit("--exec", text, "--target", "web", *given(tmp_path)) for text in (f"RUN true\n{step}", "RUN true")
    ]
    shutil.rmtree(fleet.folder / "web")
    fleet.restart("web")
    with_secret, without = (fleet.wait_job(job) for job in jobs)
    assert (with_secret["state"], without["state"]) == ("incomplete", "success")
    tasks = [step["tasks"][0] for step in with_secret["steps"]]
    assert [(task["state"], task["reason"]) for task in tasks] == [("expired", "sealed for the former key")] * 2


def test_a_client_that_starts_again_has_no_value_that_a_step_made(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start_client("node-1")
    fleet.wait_online(["node-1"])
    flag = tmp_path / "flag"
    text = f"""ARG --secret TOKEN
        RUN --stdout-arg TOKEN echo made-$((40 + 2))-here
        RUN --mount=type=secret,id=db,env=PW --retry 2 \\
            touch {flag}; test -n "$PW" -a -n "$TOKEN" -a -e {flag}2 || sleep 60"""
    job = fleet.submit("--exec", text, "--target", "node-1", *given(tmp_path))
    wait_until(flag.exists, "the step runs")
    fleet.kill("node-1")
    fleet.restart("node-1")
    ended = fleet.wait_job(job)
    last = ended["steps"][2]["tasks"][0]
    assert last["state"] == "failed" and "TOKEN has no value here" in last["reason"]
    Path(f"{flag}2").touch()
    again = fleet.run_json("--resume", job, "--wait", *given(tmp_path))
    assert [step["tasks"][0]["state"] for step in again["steps"]] == ["cached", "success", "success"]
