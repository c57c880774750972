"""`--plan`: what would run where and why, asked of real nodes, which change nothing for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from harness import Fleet, marked_processes

Nodes = dict[str, dict[str, Any]]


@pytest.fixture
def three(fleet: Fleet) -> Fleet:
    """A server with `node-1` to `node-3`."""
    fleet.wait_online(fleet.start_clients(3))
    return fleet


def plan_of(fleet: Fleet, *args: str) -> dict[str, Any]:
    """The plan's object, and nothing has come of it."""
    before = snapshot(fleet)
    plan: dict[str, Any] = fleet.run_json("--plan", *args)
    assert snapshot(fleet) == before
    return plan


def snapshot(fleet: Fleet) -> tuple[Any, ...]:
    """Jobs, what nodes remember, files below `srv`, and how many processes there are."""
    nodes = fleet.run_json("--export-nodes", "-")
    known = [(node["id"], node["labels"], node["args"]) for node in nodes]
    place = fleet.folder / "srv"
    files = sorted((str(path), path.read_bytes() if path.is_file() else b"") for path in place.rglob("*"))
    jobs = [job["id"] for job in fleet.run_json("--list-jobs")]
    folders = [sorted(os.listdir(fleet.folder / node["id"])) for node in nodes if node["state"] == "online"]
    return jobs, known, files, folders, len(marked_processes(fleet.folder)), os.listdir(fleet.temporary)


def said(plan: dict[str, Any], step: int) -> Nodes:
    """What is said of each node of a step."""
    return {row["node"]: row for row in plan["steps"][step]["nodes"]}


def actions(plan: dict[str, Any], node: str) -> list[str]:
    """What each of a node's steps would do."""
    return [row["action"] for step in plan["steps"] for row in step["nodes"] if row["node"] == node]


def write(fleet: Fleet, text: str, name: str = "app.director") -> str:
    """An orchestration file; its path."""
    path = fleet.folder / name
    path.write_text(text)
    return str(path)


FILE = """
ARG PLACE
WORKDIR $PLACE/{{ node.id }}
RUN --stdout-arg COUNT ls | wc -l
COPY --chmod=0600 app.conf ./
RUN echo {{ COUNT }} >> log
RUN --skip-cache echo always
"""


@pytest.mark.quick
def test_before_and_after_a_run(three: Fleet) -> None:
    (three.folder / "app.conf").write_text("one\ntwo\n")
    given = (write(three, FILE), "--arg", f"PLACE={three.folder}/srv")
    plan = plan_of(three, *given)
    assert plan["stages"] == [{"name": "", "nodes": ["node-1", "node-2", "node-3"], "unmatched": []}]
    begun = [(step["index"], step["verb"], step["stage"]) for step in plan["steps"][:2]]
    assert begun == [(0, "ARG", 0), (1, "WORKDIR", 0)]
    assert set(actions(plan, "node-2")) == {"run"}
    assert said(plan, 1)["node-2"]["rendered"] == f"WORKDIR {three.folder}/srv/node-2"
    assert said(plan, 4)["node-1"]["rendered"] == "RUN echo UNKNOWN >> log"
    diff = said(plan, 3)["node-1"]["diff"]
    assert f"+++ {three.folder}/srv/node-1/app.conf" in diff and "+one" in diff

    job = three.run_json("--orchestrate", *given, "--wait")
    plan = plan_of(three, *given)
    assert actions(plan, "node-1") == ["cached"] * 5 + ["run"]
    assert said(plan, 2)["node-3"]["reason"] == f"unchanged since job {job['id']}"
    assert said(plan, 4)["node-1"]["rendered"] == "RUN echo 0 >> log"

    (three.folder / "app.conf").write_text("one\n2\n")
    for name in ("node-2", "node-3"):
        (three.folder / "srv" / name / "app.conf").write_text("one\n2\n")
    plan = plan_of(three, *given)
    assert actions(plan, "node-1") == ["cached"] * 3 + ["run"] * 3
    assert actions(plan, "node-2") == ["cached"] * 4 + ["run"] * 2
    assert said(plan, 4)["node-2"]["reason"] == "step 4 before it changed"
    assert said(plan, 3)["node-1"]["diff"].endswith("@@ -1,2 +1,2 @@\n one\n-two\n+2\n")
    assert said(plan, 4)["node-1"]["reason"] == "step 4 changes before it"

    os.chmod(three.folder / "srv/node-2/app.conf", 0o644)
    assert said(plan_of(three, *given), 3)["node-2"]["diff"].endswith("app.conf: mode 0644 becomes 0600\n")
    ran = three.run_json("--orchestrate", *given, "--wait")
    done = {(step["index"], task["node"]): task["state"] for step in ran["steps"] for task in step["tasks"]}
    assert done[3, "node-1"] == done[4, "node-1"] == done[3, "node-2"] == done[4, "node-2"] == "success"
    assert done[2, "node-1"] == done[3, "node-3"] == "cached"


def test_which_input_changed(three: Fleet) -> None:
    text = "ARG A=1\nENV B=1\nRUN echo $A\nRUN echo {{ node.id }}\n"
    three.run_json("--orchestrate", write(three, text), "--wait")

    def reasons(*words: str) -> list[str]:
        changed = text.replace(*words[:2]) if words else text
        plan = plan_of(three, write(three, changed), *words[2:])
        return [said(plan, step)["node-1"]["reason"] for step in range(4)]

    assert reasons("", "")[2].startswith("unchanged since job")
    assert reasons("A=1", "A=2")[2] == "step 1 before it changed"
    assert reasons("echo $A", "echo  $A")[2:] == ["its text changed", "step 3 before it changed"]
    assert reasons("RUN echo {{", "RUN --ok-codes=0,1 echo {{")[3] == "a flag changed"
    assert reasons("", "", "--no-cache")[2] == "--no-cache"


def test_what_is_not_there_or_wrong(three: Fleet) -> None:
    three.stop("node-3")
    three.wait_state(["node-3"], "offline")
    text = "RUN uptime\nECHO {{ nothing }}\nCOPY --chown=nobody-here /etc/hostname /x"
    plan = plan_of(three, "--exec", text, "--target", "node-1,node-3")
    assert said(plan, 0)["node-3"] == {"node": "node-3", "action": "unknown", "reason": "offline"}
    assert said(plan, 0)["node-1"] == {"node": "node-1", "action": "run", "reason": ""}
    assert "nothing" in said(plan, 1)["node-1"]["reason"]
    assert "nobody-here" in said(plan, 2)["node-1"]["reason"]
    plan = plan_of(three, "--exec", "RUN uptime", "--target", "all,node-3 and all")
    assert plan["stages"][0]["nodes"] == ["node-1", "node-2"]


def test_a_query_of_what_the_plan_sets(three: Fleet) -> None:
    text = "FROM node-1\nRUN --stdout-arg KEY cat {}\nFROM node-2\nQUERY KEY\nRUN echo {{{{ query['node-1'].KEY }}}}\n"
    (three.folder / "key").write_text("first\n")
    path = write(three, text.format(three.folder / "key"))
    plan = plan_of(three, path)
    assert said(plan, 2)["node-2"]["rendered"] == "RUN echo UNKNOWN"
    three.run_json("--orchestrate", path, "--wait")
    plan = plan_of(three, path)
    assert said(plan, 2)["node-2"]["action"] == "cached"
    assert said(plan, 2)["node-2"]["rendered"] == "RUN echo first"


def test_more_contents_and_chunks_than_a_handful(three: Fleet) -> None:
    """Twelve files that are there in one place and differ in another, then steps of many chunks."""
    files = [write(three, f"content {number}\n", f"file-{number}") for number in range(12)]
    place = three.folder / "there"
    copies = "".join(f"COPY {file} {place}/{number}\n" for number, file in enumerate(files))
    three.run_json("--exec", copies, "--target", "node-1", "--wait")
    (place / "11").write_text("another\n")
    text = copies + "RUN true\n" * 2500
    plan = plan_of(three, "--orchestrate", write(three, text), "--no-cache", "--target", "node-1")
    assert actions(plan, "node-1") == ["cached"] * 11 + ["run"] * 2501
    assert "-another\n+content 11\n" in said(plan, 11)["node-1"]["diff"]


def test_as_a_table(three: Fleet, tmp_path: Path) -> None:
    done = three.director("--plan", "--exec", f"COPY <<app {three.folder}/new\nhello\napp\nRUN cd /tmp")
    assert done.returncode == 0
    for shown in ("node-[1-3]", "COPY", "+hello", "run"):
        assert shown in done.stdout
    assert not (three.folder / "new").exists()


def test_why_a_target_means_less(three: Fleet) -> None:
    three.run_json("--exec", "LABEL tier=web", "--target", "node-[1-2]", "--wait")
    three.stop("node-2")
    three.wait_state(["node-2"], "offline")
    plan = plan_of(three, write(three, "FROM label:tier=web or x-*\nRUN true\n"))
    assert plan["stages"][0]["nodes"] == ["node-1"]
    unmatched = plan["stages"][0]["unmatched"]
    assert "x-*" in unmatched and any(text.startswith("node-2: offline") for text in unmatched)
    shown = three.director("--plan", str(three.folder / "app.director")).stdout
    assert "without node-2: offline" in shown and "node-3: has no label tier" in shown


def test_a_plan_has_no_doubled_slashes(three: Fleet) -> None:
    (three.folder / "site/inner").mkdir(parents=True)
    (three.folder / "site/inner/page").write_text("a\n")
    place = three.folder / "srv"
    text = f"COPY site {place}/a/\nCOPY site/ {place}/b\nCOPY site/inner/page {place}/c/\nADD site {place}//d//\n"
    plan = plan_of(three, write(three, text), "--target", "node-1")
    said_of = [said(plan, step)["node-1"]["diff"] for step in range(4)]
    assert f"{place}/a/: a new folder" in said_of[0] and f"{place}/d/: a new folder" in said_of[3]
    assert [text for text in said_of if "//" in text] == []
    done = three.director("--plan", write(three, text), "--target", "node-1")
    assert not [line for line in done.stdout.splitlines() if "//" in line and "ADD" not in line]


def test_a_changed_arg_is_named(three: Fleet) -> None:
    """With both values, whether the file declares it or only a template uses it."""
    given = (
        write(three, "ARG VERSION=1.4\nENV MODE=a\nRUN echo $VERSION\nRUN echo {{ EXTRA }}\n"),
        "--target",
        "node-1",
    )
    three.run_json("--orchestrate", *given, "--arg", "EXTRA=one", "--wait")

    def reasons(*words: str) -> list[str]:
        plan = plan_of(three, *given, *words)
        return [said(plan, step)["node-1"]["reason"] for step in range(4)]

    changed = reasons("--arg", "EXTRA=one", "--arg", "VERSION=1.5")
    assert changed[0] == "ARG VERSION was '1.4', it is '1.5' now"
    assert changed[1:3] == ["step 1 before it changed"] * 2
    assert reasons("--arg", "EXTRA=two")[3] == "ARG EXTRA was 'one', it is 'two' now"
    write(three, "ARG VERSION=1.4\nENV MODE=b\nRUN echo $VERSION\nRUN echo {{ EXTRA }}\n")
    assert reasons("--arg", "EXTRA=one")[1] == "ENV MODE was 'a', it is 'b' now"
    write(three, "ARG OTHER=1.4\nENV MODE=b\nRUN echo $OTHER\nRUN echo {{ EXTRA }}\n")
    assert (
        reasons("--arg", "EXTRA=one")[0]
        == "ARG VERSION was '1.4', it is not set now, ARG OTHER was not set, it is '1.4' now"
    )
    write(three, "USER root\nENV MODE=b\nRUN echo $OTHER\nRUN echo {{ EXTRA }}\n")
    assert reasons("--arg", "EXTRA=one")[0] == "its text changed"
