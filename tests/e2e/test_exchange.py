"""What travels between nodes, over real processes: QUERY, FETCH, COPY --from, and who runs a step for all."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, Fleet, tasks_of, wait_until

NAMES = ["node-1", "node-2", "node-3"]
Tasks = dict[tuple[int, str], dict[str, Any]]


@pytest.fixture
def run(trio: Fleet) -> Callable[..., Tasks]:
    """Submit, wait, and give the tasks by step and node."""

    def go(text: str, *more: str, exit_code: int = 0) -> Tasks:
        return tasks(trio.run_json("--exec", text, "--wait", *more, exit_code=exit_code))

    return go


def tasks(job: dict[str, Any]) -> Tasks:
    """A job's tasks by step and node."""
    return {(task["step"], task["node"]): task for task in tasks_of(job)}


@pytest.fixture
def tree(trio: Fleet, request: pytest.FixtureRequest) -> Path:
    """A folder of all kinds of things."""
    root = trio.folder / request.node.name.replace("[", "-").replace("]", "")
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "b.txt").write_text("b")
    (root / "empty").touch()
    (root / "sub" / "large").write_bytes(os.urandom(5_000_000))
    (root / "sub" / "up").symlink_to("../a.txt")
    (root / "tool").write_text("#!/bin/sh\n")
    (root / "tool").chmod(0o4755)
    return root


# -- QUERY ----------------------------------------------------------------------------------------------------


def test_query_gathers_what_every_node_has(run: Callable[..., Tasks]) -> None:
    found = run(
        "RUN --stdout-arg OWN printf '%s' \"of $DIRECTOR_NODE\"\n"
        "QUERY OWN\nQUERY arch\n"
        "ECHO {{ query | length }} {{ query['node-2'].OWN }} {{ query['node-3'].arch == facts.arch }}"
    )
    for name in NAMES:
        assert found[3, name]["stdout"] == "3 of node-2 True"


def test_query_waits_for_the_slowest_and_no_wait_does_not(run: Callable[..., Tasks]) -> None:
    text = "RUN --stdout-arg {0} sh -c 'test $DIRECTOR_NODE != node-3 || sleep 1.5; echo here'\nQUERY {1} {0}"
    found = run(text.format("LATE", ""))
    assert '"node-3"' in found[1, "node-1"]["stdout"]
    found = run(text.format("LATER", "--no-wait"))
    assert '"node-3"' not in found[1, "node-1"]["stdout"]


def test_output_of_a_host_is_never_rendered_again(run: Callable[..., Tasks]) -> None:
    found = run(
        "RUN --raw --stdout-arg SLY printf '%s' '{{ 7*7 }} $HOME `id` {% if'\n"
        "QUERY SLY\nECHO {{ query['node-1'].SLY }}\nRUN printf '%s' {{ query['node-2'].SLY | quote }}"
    )
    for step in (2, 3):
        assert found[step, "node-3"]["stdout"] == "{{ 7*7 }} $HOME `id` {% if"


def test_nobody_having_it_fails_who_uses_it(run: Callable[..., Tasks]) -> None:
    found = run("QUERY NOBODY\nECHO {{ query | length }}\nECHO {{ query['node-1'].NOBODY }}", exit_code=1)
    assert (found[0, "node-1"]["state"], found[0, "node-1"]["stdout"]) == ("success", "{}")
    assert found[1, "node-1"]["stdout"] == "0"
    assert "node-1" in found[2, "node-1"]["reason"]
    found = run("RUN --stdout-arg ONE echo 1\nQUERY ONE\nECHO {{ query['node-1'].TWO }}", exit_code=1)
    assert "TWO" in found[2, "node-2"]["reason"]


def test_values_are_typed_as_they_were_written(run: Callable[..., Tasks]) -> None:
    found = run(
        "RUN --stdout-arg N echo 41\nRUN --stdout-arg T echo 1.10\nRUN --stdout-arg L echo '[1, 2]'\n"
        "QUERY N\nQUERY T\nQUERY L\nQUERY cpu\n"
        "ECHO {{ query['node-2'].N + 1 }} {{ query['node-2'].T }} {{ query['node-2'].L[1] }} "
        "{{ query['node-2'].cpu.count == facts.cpu.count }}"
    )
    assert found[7, "node-1"]["stdout"] == "42 1.10 2 True"


def test_query_across_entries_and_beside_an_async_one(trio: Fleet) -> None:
    file = trio.folder / "query.yaml"
    file.write_text(
        "- targets: node-1\n  jobs:\n  - RUN: --stdout-arg DB echo db-of-$DIRECTOR_NODE\n"
        "- targets: node-2\n  async: true\n  jobs:\n  - RUN: sleep 2\n"
        "- targets: [node-2, node-3]\n  async: true\n  jobs:\n"
        "  - QUERY: DB\n  - ECHO: \"{{ query['node-1'].DB }}\"\n"
    )
    job = trio.run_json("--orchestrate", str(file), "--wait")
    found = tasks(job)
    assert found[3, "node-2"]["stdout"] == found[3, "node-3"]["stdout"] == "db-of-node-1"
    assert found[3, "node-2"]["finished_at"] < found[1, "node-2"]["finished_at"], "an async neighbour is not waited for"


def test_query_does_not_wait_for_who_is_offline(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(3))
    fleet.stop("node-3")
    fleet.wait_state(["node-3"], "offline")
    text = "RUN --stdout-arg OWN echo $DIRECTOR_NODE\nQUERY OWN"
    job = fleet.submit("--target", "node-[1-3]", "--exec", text)

    def ended() -> Any:
        found = tasks(fleet.job(job))
        return all(found[1, name]["state"] == "success" for name in NAMES[:2]) and found

    found = wait_until(ended, "those online are done")
    assert found[1, "node-1"]["stdout"] == '{"node-1": {"OWN": "node-1"}, "node-2": {"OWN": "node-2"}}'
    fleet.restart("node-3")
    assert len(tasks(fleet.wait_job(job))[1, "node-3"]["stdout"].split("OWN")) == 4


def test_a_server_killed_while_nodes_wait_answers_after_its_return(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(3))
    source = fleet.folder / "file"
    source.write_text("from node-2")
    go = fleet.folder / "go"
    text = (
        f"RUN --stdout-arg OWN test $DIRECTOR_NODE != node-2 || while test ! -e {go}; do sleep 0.1; done; echo x\n"
        f"QUERY OWN\nCOPY --from=node-2 {source} {fleet.folder}/got-$DIRECTOR_NODE\n"
        f"FETCH {source} {fleet.folder}/fetched"
    )
    job = fleet.submit("--exec", text)
    wait_until(lambda: tasks(fleet.job(job))[1, "node-1"]["state"] == "running", "node-1 waits for node-2")
    fleet.kill("server")
    go.touch()
    fleet.restart("server")
    done = fleet.wait_job(job)
    assert done["state"] == "success", tasks(done)
    assert tasks(done)[1, "node-1"]["stdout"].count("x") == 3
    for name in NAMES:
        assert (fleet.folder / f"got-{name}").read_text() == "from node-2"
        assert (fleet.folder / "fetched" / name / "file").read_text() == "from node-2"


# -- FETCH ----------------------------------------------------------------------------------------------------


def test_fetch_brings_a_folder_a_glob_and_a_file(trio: Fleet, run: Callable[..., Tasks], tree: Path) -> None:
    out = trio.folder / "out-a"
    found = run(f"WORKDIR {tree}\nFETCH sub *.txt {tree}/tool {out}")
    for name in NAMES:
        here = out / name
        assert sorted(path.name for path in here.iterdir()) == ["a.txt", "b.txt", "large", "tool"]
        assert (here / "large").read_bytes() == (tree / "sub/large").read_bytes()
        assert (here / "tool").stat().st_mode & 0o7777 == 0o755, "no setuid bit"
        assert f"{here}/a.txt" in found[1, name]["stdout"].splitlines()
    assert "up is a link that leads out" in found[1, "node-1"]["stderr"], "only sub/ was asked for"
    again = run(f"FETCH {tree}/*.txt out-b/\nFETCH {tree}/*.txt out-b/", "--timeout", "120s")
    assert {again[0, name]["state"] for name in NAMES} == {"success"}
    assert {again[1, name]["state"] for name in NAMES} == {"cached"}
    assert (trio.folder / "out-b/node-3/b.txt").read_text() == "b", "below the working folder of the caller"


def test_hostile_names_stay_in_their_folder(trio: Fleet, run: Callable[..., Tasks], tree: Path) -> None:
    bad = tree / "bad"
    bad.mkdir()
    (bad / "line\nbreak").write_text("1")
    (bad / "\x1b[31m").write_text("2")
    os.mkfifo(tree / "fifo")
    Path(os.fsdecode(bytes(bad) + b"/not\xffutf")).write_text("3")
    (bad / "passwd").symlink_to("/etc/passwd")
    (bad / "outside").symlink_to("../../outside")
    (bad / "inside").symlink_to("line\nbreak")
    out = trio.folder / "out-hostile"
    found = run(f"FETCH {bad} {out}")
    here = out / "node-1"
    names = sorted(os.listdir(bytes(here)))
    assert names == [b"%1B[31m", b"line%0Abreak", b"not\xffutf"]
    assert (here / "line%0Abreak").read_text() == "1"
    assert found[0, "node-1"]["stderr"].count("left out") == 3
    assert "\x1b" not in found[0, "node-1"]["stdout"]


def test_links_that_lie_there_are_not_followed(trio: Fleet, run: Callable[..., Tasks], tree: Path) -> None:
    out, safe = trio.folder / "out-links", trio.folder / "safe"
    safe.mkdir()
    (out / "node-1").mkdir(parents=True)
    (out / "node-1" / "sub").symlink_to(safe)
    (out / "node-2").symlink_to(safe)
    (out / "node-3").mkdir()
    (out / "node-3" / "a.txt").symlink_to(safe / "target")
    found = run(f"FETCH {tree} {out}", exit_code=1)
    assert not list(safe.iterdir())
    for name in ("node-1", "node-2"):
        assert found[0, name]["state"] == "failed" and "is not followed" in found[0, name]["reason"]
    assert found[0, "node-3"]["state"] == "success"
    assert not (out / "node-3" / "a.txt").is_symlink(), "the link itself is replaced"


def test_fetch_errors_say_what_is_wrong(trio: Fleet, run: Callable[..., Tasks], tree: Path) -> None:
    found = run(f"FETCH {tree}/nothing out", exit_code=1)
    assert f"{tree}/nothing: no such file" in found[0, "node-1"]["reason"]
    (trio.folder / "a-file").touch()
    found = run(f"FETCH {tree}/a.txt {trio.folder}/a-file", exit_code=1)
    assert "a-file" in found[0, "node-1"]["reason"]
    (tree / "sub" / "a.txt").touch()
    found = run(f"FETCH {tree}/a.txt {tree}/sub {trio.folder}/twice", exit_code=1)
    assert "two sources give 'a.txt'" in found[0, "node-2"]["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can call as somebody else")
def test_files_are_written_with_the_callers_rights(trio: Fleet, tree: Path) -> None:
    nobody = 65534
    mine = trio.folder / "of-nobody"
    mine.mkdir()
    os.chown(mine, nobody, nobody)
    trio.folder.chmod(0o755)
    os.chmod(trio.socket_path, 0o666)

    def fetch(to: str) -> dict[str, Any]:
        """Submitted by somebody who may not even read the interpreter: everything is imported before."""
        file = {"id": os.urandom(8).hex(), "kind": "exec", "name": "exec", "form": "auto", "folder": "/"}
        header = {"do": "submit", "files": [{**file, "text": f"FETCH {tree}/a.txt {to}"}], "options": {}}
        script = (
            "import json, os, sys\n"
            "from director.protocol.framing import Channel\n"
            "from director.runtime.paths import dial\n"
            "header = json.loads(sys.argv[2])\n"
            f"os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})\n"
            "channel = Channel(dial(sys.argv[1])); channel.send(header)\n"
            "while 'alive' in (answer := channel.receive()[0]): pass\n"
            "print(json.dumps(answer))\n"
        )
        command = [sys.executable, "-c", script, str(trio.socket_path), json.dumps(header)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        assert json.loads(done.stdout).get("ok"), done.stdout
        return trio.wait_job(file["id"])

    assert fetch(f"{mine}/in")["state"] == "success"
    landed = mine / "in/node-1/a.txt"
    assert (landed.read_text(), landed.stat().st_uid, landed.stat().st_gid) == ("a", nobody, nobody)
    job = fetch("/root/not-mine")
    assert "Permission denied" in tasks(job)[0, "node-1"]["reason"]
    assert not Path("/root/not-mine").exists()


# -- COPY --from ----------------------------------------------------------------------------------------------


def test_copy_from_a_node_gives_all_the_same(trio: Fleet, run: Callable[..., Tasks], tree: Path) -> None:
    made, got = trio.folder / "made", trio.folder / "got"
    found = run(
        f"RUN sh -c 'test $DIRECTOR_NODE != node-2 || {{ sleep 0.5; echo $DIRECTOR_NODE > {made}; }}'\n"
        f"COPY --from=node-2 {made} {got}/$DIRECTOR_NODE/\n"
        f"COPY --from=node-2 --chmod=0600 --exclude=sub/up {tree}/ {got}/$DIRECTOR_NODE/tree/"
    )
    for name in NAMES:
        assert (got / name / "made").read_text() == "node-2\n"
        assert (got / name / "tree/sub/large").read_bytes() == (tree / "sub/large").read_bytes()
        assert (got / name / "tree/a.txt").stat().st_mode & 0o777 == 0o600
        assert not (got / name / "tree/sub/up").is_symlink()
    assert {task["state"] for task in found.values()} == {"success"}
    again = run(f"COPY --from=node-2 {made} {got}/$DIRECTOR_NODE/")
    assert {task["state"] for task in again.values()} == {"cached"}


def test_copy_from_a_stage(trio: Fleet, tree: Path) -> None:
    file = trio.folder / "ca.director"
    file.write_text(
        f"FROM node-3 AS ca\nRUN echo key-of-$DIRECTOR_NODE > {tree}/ca.pem\n"
        f"FROM node-1,node-2\nCOPY --from=ca {tree}/ca.pem {tree}/copy-{{{{ node.id }}}}\n"
    )
    job = trio.run_json("--orchestrate", str(file), "--wait")
    assert job["state"] == "success", tasks(job)
    assert (tree / "copy-node-1").read_text() == (tree / "copy-node-2").read_text() == "key-of-node-3\n"


def test_sources_may_depend_on_the_node(trio: Fleet, run: Callable[..., Tasks], tree: Path) -> None:
    for name in NAMES:
        (tree / f"{name}.key").write_text(name)
    run(f"COPY --from=node-1 {tree}/{{{{ node.id }}}}.key {tree}/got-$DIRECTOR_NODE")
    for name in NAMES:
        assert (tree / f"got-{name}").read_text() == name


def test_a_source_that_has_nothing_fails_those_that_ask(run: Callable[..., Tasks], tree: Path) -> None:
    found = run(f"COPY --from=node-1 {tree}/nothing {tree}/x", exit_code=1)
    for name in NAMES:
        assert f"node-1: {tree}/nothing: no such file" in found[0, name]["reason"]


def test_a_source_that_is_offline_is_waited_for_and_then_named(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(2))
    source = fleet.folder / "file"
    source.write_text("x")
    fleet.stop("node-2")
    fleet.wait_state(["node-2"], "offline")
    text = f"COPY --timeout {{}} --from=node-2 {source} {fleet.folder}/got"
    job = fleet.run_json("--target", "node-1", "--exec", text.format("2s"), "--wait", exit_code=1)
    task = tasks(job)[0, "node-1"]
    assert task["state"] == "timeout" and "node-2, which has the files, is offline" in task["reason"]
    job_id = fleet.submit("--target", "node-1", "--exec", text.format("30s"))
    wait_until(lambda: tasks(fleet.job(job_id))[0, "node-1"]["state"] == "running", "it waits")
    fleet.restart("node-2")
    assert fleet.wait_job(job_id)["state"] == "success"
    assert (fleet.folder / "got").read_text() == "x"


def test_a_client_killed_in_mid_fetch_loses_the_task_only(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(2))
    big, piece = fleet.folder / "big", os.urandom(1 << 20)
    with open(big, "wb") as file:
        file.writelines([piece] * 300)
    job = fleet.submit("--exec", f"FETCH {big} {fleet.folder}/out")
    wait_until(lambda: tasks(fleet.job(job))[0, "node-1"]["state"] == "running", "it is under way")
    fleet.kill("node-1", signal.SIGKILL)
    fleet.restart("node-1")
    found = tasks(fleet.wait_job(job, 900))
    assert found[0, "node-1"]["state"] in ("lost", "success")
    assert found[0, "node-2"]["state"] == "success"
    assert (fleet.folder / "out/node-2/big").stat().st_size == 300 << 20
    assert fleet.run_json("--exec", f"FETCH {big} {fleet.folder}/out", "--wait", timeout=900)["state"] == "success"


# -- ADD ------------------------------------------------------------------------------------------------------


def test_add_fetches_an_address_once_for_all_and_unpacks(trio: Fleet, run: Callable[..., Tasks], tree: Path) -> None:
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            asked.append(self.path)

    with tarfile.open(tree / "pack.tgz", "w:gz") as archive:
        archive.add(tree / "sub", "sub")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tree)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url, out = f"http://127.0.0.1:{server.server_port}", f"{tree}/out-{{{{ node.id }}}}"
        checksum = hashlib.sha256((tree / "sub/large").read_bytes()).hexdigest()
        text = f"ADD --checksum=sha256:{checksum} {url}/sub/large {out}/\nADD {tree}/pack.tgz {url}/pack.tgz {out}/all/"
        found = run(text)
        assert sorted(asked) == ["/pack.tgz", "/sub/large"], "by the server, for all nodes"
        for name in NAMES:
            here = tree / f"out-{name}"
            assert (here / "large").stat().st_mode & 0o777 == (here / "all/pack.tgz").stat().st_mode & 0o777 == 0o600
            assert (here / "all/sub/large").read_bytes() == (here / "large").read_bytes()
            assert found[1, name]["stdout"].splitlines() == [f"{here}/all", f"{here}/all/pack.tgz"]
        assert {task["state"] for task in run(text).values()} == {"cached"}
        refused = trio.director("--exec", text.replace(checksum, "0" * 64), "--wait")
        assert (refused.returncode, "holds sha256:" in refused.stderr) == (2, True), refused.stderr
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- run-once -------------------------------------------------------------------------------------------------


def test_run_once_is_chosen_when_its_stage_starts(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(3))
    go = fleet.folder / "go"
    file = fleet.folder / "once.director"
    file.write_text(
        f"FROM node-3\nRUN while test ! -e {go}; do sleep 0.1; done\n"
        "FROM node-1,node-2\nRUN --run-once echo first\nRUN --run-once echo second\nRUN echo all\n"
    )
    job = fleet.submit("--orchestrate", str(file))
    wait_until(lambda: tasks(fleet.job(job))[0, "node-3"]["state"] == "running", "the first stage runs")
    fleet.stop("node-1")  # it was online when this was planned
    fleet.wait_state(["node-1"], "offline")
    go.touch()
    wait_until(lambda: tasks(fleet.job(job)).get((3, "node-2"), {}).get("state") == "success", "node-2 did it")
    fleet.kill("server")
    fleet.restart("server")
    fleet.restart("node-1")
    done = fleet.wait_job(job)
    found = tasks(done)
    assert done["state"] == "success", found
    assert sorted(found) == [(0, "node-3"), (1, "node-2"), (2, "node-2"), (3, "node-1"), (3, "node-2")]
    assert done["tasks"]["total"] == done["tasks"]["success"] == 5


def test_a_run_once_step_that_fails_skips_the_others(run: Callable[..., Tasks]) -> None:
    found = run("RUN true\nRUN --run-once false\nRUN echo never", exit_code=1)
    assert found[1, "node-1"]["state"] == "failed" and (1, "node-2") not in found
    assert {found[2, name]["state"] for name in NAMES} == {"skipped"}
    found = run("RUN test $DIRECTOR_NODE != node-1\nRUN --run-once echo for all\nRUN echo never", exit_code=1)
    assert found[1, "node-1"]["state"] == "skipped" and (1, "node-2") not in found
    assert {found[2, name]["state"] for name in NAMES} == {"skipped"}
    assert found[2, "node-2"]["reason"].startswith("on node-1, step 1 failed")


def test_a_cancelled_run_once_step_that_nobody_had_is_cancelled(trio: Fleet) -> None:
    text = "FROM node-3\nRUN sleep 60\nFROM node-1,node-2\nRUN --run-once echo x"
    job = trio.submit("--exec", text)
    wait_until(lambda: tasks(trio.job(job))[0, "node-3"]["state"] == "running", "it runs")
    assert trio.director("--cancel-job", job).returncode == 0
    done = trio.wait_job(job)
    assert done["state"] == "cancelled"
    assert tasks(done)[1, "node-1"]["state"] == "cancelled"
