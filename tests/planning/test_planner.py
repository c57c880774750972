"""Plans: stages, nodes, blocks, and the values known when planning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ujson
from verb_node import Fleet, drive

from director.errors import DirectorError, LanguageError, LanguageErrors, NoTargetError, UsageError
from director.planning.planner import plan
from director.transfer.blobs import BlobStore

WEBS = ["web-01", "web-02", "web-03"]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(web_01=False, web_02=True, web_03=True, db=True, arm_1=True, far=False)


@pytest.fixture
def make(tmp_path: Path, fleet: Fleet) -> Any:
    """Plans a text for the fleet; relative sources start from the test's folder."""
    blobs = BlobStore(str(tmp_path / "blobs"))
    return lambda text, **options: drive(text, tmp_path, blobs, options.pop("fleet", fleet), **options)


def blocks(made: Any) -> list[tuple[Any, ...]]:
    """(first, last, stage, barrier, nodes) of each block."""
    return [(b["first"], b["last"], b["stage"], b["barrier"], b["nodes"]) for b in made.meta()["blocks"]]


def stages(made: Any) -> list[list[str]]:
    return [stage["nodes"] for stage in made.meta()["stages"]]


# -- nodes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target", "nodes"),
    [
        ("RUN x", [], [["arm-1", "db", "web-02", "web-03"]]),
        ("RUN x", ["far", "db"], [["far", "db"]]),
        ("FROM web-*\nRUN x", [], [WEBS]),
        ("FROM web-*\nRUN x", ["web-02,web-01,db"], [["web-01", "web-02"]]),
        ("FROM db\nRUN x\nFROM web-01\nRUN y", ["web-*"], [["web-01"]]),
        (
            "FROM label:tier=web AS w\nRUN x\nFROM w\nRUN y\nFROM w and web-03\nRUN z",
            [],
            [WEBS[1:], WEBS[1:], ["web-03"]],
        ),
        ("FROM --platform=linux/arm64 all\nRUN x", [], [["arm-1"]]),
        ("FROM --platform=linux/amd64 all\nRUN x", ["db,arm-1"], [["db"]]),
        ("ARG T=web-02\nFROM $T\nRUN x", [], [["web-02"]]),
        ("ARG T\nFROM ${T:-db} AS x\nRUN x", [], [["db"]]),
        ("FROM ~web-\\d+$\nRUN x", [], [WEBS]),
        ("- targets: [db, far]\n  jobs: [{RUN: x}]\n- jobs: [{RUN: y}]", ["db"], [["db"], ["db"]]),
    ],
)
def test_nodes(text: str, target: list[str], nodes: list[list[str]], make: Any) -> None:
    assert stages(make(text, target=target)) == nodes


@pytest.mark.parametrize(
    ("text", "options", "error", "says"),
    [
        ("FROM nope\nRUN x", {}, NoTargetError, "exec:1: "),
        ("RUN x\n", {"target": ["nope"]}, NoTargetError, "nope"),
        ("RUN x\n", {"target": ["web-* and"]}, UsageError, "--target"),
        ("FROM web-* and\nRUN x", {}, LanguageError, "exec:1: "),
        ("FROM debian:12\nRUN x", {}, LanguageError, "FROM takes target nodes"),
        ("FROM scratch\nRUN x", {}, LanguageError, "FROM takes target nodes"),
        ("FROM web-*\nRUN x", {"target": ["db"]}, NoTargetError, "leaves no stage a node"),
        ("FROM --platform=linux/s390x all\nRUN x", {}, NoTargetError, "--platform=linux/s390x"),
        ("RUN x", {"fleet": Fleet(far=False)}, NoTargetError, "no node is online"),
        ("RUN x", {"fleet": Fleet()}, NoTargetError, "no node is online"),
        ("FROM db", {}, LanguageError, "nothing to do"),
        ("FROM {{ node.id }}\nRUN x", {}, LanguageError, "FROM cannot use node"),
        ("FROM $NOPE\nRUN x", {}, LanguageError, "NOPE is not known"),
        ("- jobs:\n  - RUN: x\n    assign: [far]\n  targets: [db]", {}, LanguageError, "assign names no node"),
        ("RUN x\nRNU y", {}, LanguageError, "exec:2: "),
        ("RUN x", {"args": {"node": "y"}}, UsageError, "node is no name for an ARG"),
    ],
)
def test_errors(text: str, options: dict[str, Any], error: type[DirectorError], says: str, make: Any) -> None:
    with pytest.raises(error) as raised:
        make(text, **options)
    assert says in str(raised.value)


def test_a_dropped_stage_is_noted(make: Any) -> None:
    made = make("FROM db AS data\nRUN x\nFROM web-01\nRUN y\nFROM data\nRUN z", target=["web-01"])
    assert stages(made) == [["web-01"]]
    assert [step.row["text"] for step in made.steps] == ["RUN y"]
    assert made.notes == [
        "exec:1: the stage 'data' has no nodes left and is dropped",
        "exec:5: the stage 'data' has no nodes left and is dropped",
    ]


# -- blocks and barriers ------------------------------------------------------------------------------------


def test_blocks(make: Any) -> None:
    made = make("FROM web-*\nRUN a\nRUN b\nRUN --run-once c\nRUN --run-once d\nRUN e\nFROM db\nRUN f\nQUERY x\nRUN g")
    assert blocks(made) == [
        (0, 1, 0, False, None),
        (2, 3, 0, False, ["web-02"]),
        (4, 4, 0, False, None),
        (5, 7, 1, True, None),
    ]
    meta = made.meta()
    assert meta["blocks"][1]["choose"] == WEBS
    behind = [step.get("behind") for chunk in made.chunks() for step in ujson.loads(chunk)]
    assert behind == [None, None, None, 2, 3, None, None, None], "the last run-once step of the stage before it"
    assert meta["exchange"] == {"6": {"kind": "query", "name": "x", "others": [], "wait": True}}
    assert (meta["once"], meta["step_count"], meta["node_count"], meta["task_count"]) == ([2, 3], 8, 4, 14)


def test_once_on_the_first_of_none_online(make: Any) -> None:
    assert blocks(make("FROM far,web-01\nRUN --run-once a")) == [(0, 0, 0, False, ["far"])]


def test_copy_from_a_node_is_a_gate_but_in_an_async_entry(make: Any) -> None:
    made = make("RUN a\nCOPY --from=web-01 /b /c\nRUN d", target=["db"])
    assert blocks(made) == [(0, 0, 0, False, None), (1, 2, 0, True, None)]
    asked = {"kind": "copy", "from": "web-01", "sets": [["/b"]], "exclude": [], "hidden": True, "parents": False}
    assert made.meta()["exchange"] == {"1": asked}
    entry = "- targets: db\n  async: true\n  jobs: [RUN: a, COPY: --from=web-01 /b /c]\n"
    assert blocks(make(entry)) == [(0, 1, 0, False, None)]


def test_lanes(make: Any) -> None:
    entry = "- targets: [{}]\n  async: {}\n  jobs: [RUN: a, RUN: b]\n"
    text = "".join(
        entry.format(*pair)
        for pair in [("db", "true"), ("db", "true"), ("web-02", "false"), ("db", "true"), ("web-02", "true")]
    )
    made = make(text)
    rows = made.meta()["blocks"]
    assert [(b["lane"], b["group"], b["barrier"]) for b in rows] == [
        (1, 1, False), (2, 1, False), (0, 0, True), (1, 2, True), (2, 2, False),
    ]  # fmt: skip
    assert [(step.row.get("lane"), step.row.get("group")) for step in made.steps][::2] == [
        (1, 1), (2, 1), (None, None), (1, 2), (2, 2),
    ]  # fmt: skip


def test_assign(make: Any) -> None:
    made = make("- targets: ['web-*']\n  jobs:\n  - RUN: a\n  - RUN: b\n    assign: ['web-02', db]\n  - RUN: c\n")
    assert blocks(made) == [(0, 0, 0, False, None), (1, 1, 0, False, ["web-02"]), (2, 2, 0, False, None)]


def test_global_args_are_steps_of_everybody_first(make: Any) -> None:
    made = make("ARG A=1\nARG B\nFROM web-02\nRUN x\nFROM db\nRUN $A")
    assert blocks(made) == [(0, 1, 0, False, ["web-02", "db"]), (2, 2, 0, False, None), (3, 3, 1, True, None)]


def test_a_stage_of_a_stage_inherits(make: Any) -> None:
    made = make("FROM db AS a\nWORKDIR /x\nFROM web-02\nRUN y\nFROM a\nRUN z\nRUN z")
    assert [step.row.get("inherit") for step in made.steps] == [None, None, 0, 0]


# -- values known when planning -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "args", "sources"),
    [
        ("ARG F=a\nCOPY $F d", {}, ["a"]),
        ("ARG F=a\nCOPY $F d", {"F": "b"}, ["b"]),
        ("COPY {{ F }} d", {"F": "b"}, ["b"]),
        ("ARG F=a\nARG G=$F\nCOPY ${G%x} d", {}, ["a"]),
        ("ARG F\nCOPY ${F:-b} d", {}, ["b"]),
        ("ARG L=[\"a\",\"b\"]\nCOPY {{ L[1] }} d", {}, ["b"]),
        ('ARG D={"f":"b"}\nCOPY {{ D.f }} d', {}, ["b"]),
        ("ARG N='1'\nCOPY {{ 'a' if N is string else 'b' }} d", {}, ["a"]),
        ("ARG N='1'\nCOPY {{ 'a' if N is string else 'b' }} d", {"N": "1"}, ["b"]),
        ("- jobs:\n  - ARG: {D: {f: b}}\n  - COPY: '{{ D.f }} d'", {}, ["b"]),
        ("ARG F=a\nFROM db\nARG F=b\nCOPY $F d\nFROM web-02\nCOPY $F d", {}, ["b", "a"]),
        ("FROM web-*\nARG F=a\nFROM web-02\nCOPY $F d", {}, ["a"]),
        ("COPY --chmod=$M a d", {"M": "0600"}, ["a"]),
        ("COPY --raw {{b d", {}, ["{{b"]),
        ("COPY --raw --name={%$N {{$N /", {"N": "b"}, ["{{b"]),
    ],
)  # fmt: skip
def test_known(text: str, args: dict[str, str], sources: list[str], make: Any, tmp_path: Path) -> None:
    for name in ("a", "b", "{{b"):
        (tmp_path / name).write_text(name)
    made = make(text, args=args)
    bodies = [step.row["body"] for step in made.steps if step.row["verb"] == "COPY"]
    assert [body["sources"][0][6] for body in bodies] == sources


@pytest.mark.parametrize(
    "text",
    [
        "ENV F=a\nCOPY $F d",
        "FROM db\nARG F=a\nFROM web-02\nCOPY $F d",
        "ARG F={{ node.id }}\nCOPY $F d",
        "ARG F=a\nRUN --stdout-arg F echo b\nCOPY $F d",
        "COPY {{ query }} d",
        "ARG --extend-args F=[1]\nCOPY {{ F }} d",
        "ARG F=a G=$F\nCOPY $G d",
    ],
)
def test_not_known(text: str, make: Any) -> None:
    with pytest.raises(LanguageError, match="is not known when planning"):
        make(text)


# -- whole plans --------------------------------------------------------------------------------------------


def test_rows_and_chunks(make: Any) -> None:
    made = make("RUN --name first --ignore-errors --run-once=false a\n" + "RUN b\n" * 600, target=["db"])
    chunks = [ujson.loads(chunk) for chunk in made.chunks()]
    assert [len(chunk) for chunk in chunks] == [256, 256, 89]
    assert chunks[0][0] == {
        "i": 0, "verb": "RUN", "text": "RUN --name first --ignore-errors --run-once=false a", "stage": 0, "line": 1,
        "flags": {"ignore-errors": True}, "body": {"cmd": "a"}, "name": "first",
    }  # fmt: skip
    assert chunks[1][0]["i"] == 256
    assert made.meta()["ignored"] == [0]


def test_a_chunk_has_one_set_of_nodes(make: Any) -> None:
    text = "FROM web-*\nRUN a\nFROM web-*\nRUN b\nRUN --run-once c\nRUN --run-once d\nRUN e\nFROM db\nRUN f\n"
    made = make(f"ARG X=1\n{text}")
    assert [row["first"] for row in made.meta()["chunks"]] == [0, 1, 3, 5, 6], "of all, of the web twice, of one, …"


def test_the_time_limits_of_steps_are_in_the_meta(make: Any) -> None:
    made = make("RUN x\nRUN --timeout 2m x\nRUN --timeout 5s --retry 2 x\nWAIT --retry 9 --cmd x\n", target=["db"])
    assert made.meta()["timeouts"] == {"1": 120.0, "2": 0.0}


def test_a_want_is_asked_once_and_errors_pass_through(tmp_path: Path, fleet: Fleet) -> None:
    file = {"name": "x.d", "form": "auto", "text": "RUN a\nCOPY f d\nCOPY f e\n", "folder": "/somewhere"}
    request = {"file": file, "options": {"target": ["db"]}}
    steps = plan(request, fleet, BlobStore(str(tmp_path / "b")))
    number, want, name, line = next(steps)
    assert (number, want.base, want.pattern, name, line) == (1, "/somewhere", "f", "x.d", 2)
    with pytest.raises(StopIteration):
        steps.send([])
    steps = plan(request, fleet, BlobStore(str(tmp_path / "b")))
    next(steps)
    with pytest.raises(LanguageError, match=r"x\.d:2: no such file"):
        steps.throw(LanguageError("no such file", "x.d", 2))


def test_a_digest_gives_no_content_to_who_has_some_nodes_only(tmp_path: Path, fleet: Fleet) -> None:
    blobs = BlobStore(str(tmp_path / "b"))
    digest, _ = blobs.put_bytes(b"of a job on other nodes")
    text = f"ADD --checksum=sha256:{digest} http://127.0.0.1:1/x /x"
    file = {"name": "x.d", "form": "auto", "text": text, "folder": "/somewhere"}
    request = {"file": file, "options": {"target": ["db"]}}
    with pytest.raises(StopIteration):
        next(plan(request, fleet, blobs))
    with pytest.raises(LanguageError, match="cannot be fetched"):
        next(plan({**request, "scope": ["db"]}, fleet, blobs))


def test_contents_are_durable_when_the_plan_is_there(make: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("content")
    made = make("COPY f d", target=["db"])
    assert all(BlobStore(str(tmp_path / "blobs")).has(digest) for digest in made.digests)
    assert list(made.digests.values()) == [7]


def test_a_long_text_is_planned_quickly(make: Any) -> None:
    import time

    began = time.process_time()
    made = make("RUN echo {{ node.id }} $X\n" * 5000, target=["db"])
    assert len(made.steps) == 5000
    assert time.process_time() - began < 10


DIRECTORD = """# as in directord's own functional tests
---
- async: true
  jobs:
  - ECHO: test
    vars:
      skip_cache: true
- jobs:
  - RUN: --run-once --skip-cache echo hello world
  - RUN: echo hello world 3
    vars: {stdout_arg: said, force_lock: true, timeout: 600}
  - ARG: runtime argument
  - ARG: complex_list ['test']
  - ARG: --extend-args complex_list [2]
  - ARG: >
      complex_dict {"a": "b"}
  - ENV: runtime_env environment
  - WORKDIR: --chown=0:0 --chmod=0777 /tmp/test
  - COPY: --run-once --chown=0:0 a /tmp/test/a
  - ADD: --blueprint --chown=0 a /tmp/test/
  - CACHEFILE: /tmp/test/a
  - DNF: --clear-metadata --latest openssl
  - SERVICE: --enable --restarted httpd.service
  - WAIT: --url http://localhost --retry 3 --retry-wait 1
  - RUN: >-
      {% for _, value in query.items() %}
      {%   if "said" in value %}
      echo -e "{{ value['said'] }}";
      {%   endif %}
      {% endfor %}
  - QUERY: --no-wait said
  - CACHEEVICT: parents
  - REBOOT: 5
"""


def test_files_for_directord(make: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a: 1\n")
    verbs = [step.row["verb"] for step in make(DIRECTORD, form="yaml").steps]
    assert verbs == [line.split()[1].rstrip(":") for line in DIRECTORD.splitlines() if line.startswith("  - ")]


# -- errors -------------------------------------------------------------------------------------------------


WRONG = """RUN --tiemout=3 a
RNU <<EOF
FROM nowhere
EOF
RUN --user <<EOF
CMD x
EOF
COPY nowhere /x/
EXPOSE nothing
ENV A
ECHO $A
COPY $A /x
COPY nowhere /y/
"""


def test_all_errors_are_told_at_once(make: Any) -> None:
    with pytest.raises(LanguageErrors) as raised:
        make(WRONG, target=["db"])
    told = [line.removeprefix("exec:") for line in raised.value.lines]
    assert [line.partition(":")[0] for line in told] == ["1", "2", "5", "8", "9", "10", "13"]
    assert "has no flag --tiemout; did you mean --timeout?" in told[0] and "no such file" in told[3]
    assert str(raised.value) == raised.value.lines[0] and raised.value.exit_code == 2


def test_errors_of_stages_and_their_steps(make: Any) -> None:
    text = "FROM nobody AS x\nRUN --retry=a b\nFROM x\nRUN a\nFROM web-*,\nUSER\nFROM nobody-*\nRUN --run-once a"
    with pytest.raises(LanguageErrors) as raised:
        make(text)
    assert [line.split(":")[1] for line in raised.value.lines] == ["1", "2", "5", "6", "7"]
    assert raised.value.exit_code == 2
    with pytest.raises(LanguageErrors) as raised:
        make("FROM nobody\nRUN a\nFROM nobody-*\nRUN a")
    assert len(raised.value.lines) == 2 and raised.value.exit_code == 5


def test_errors_of_yaml_at_once(make: Any) -> None:
    text = "- jobs:\n  - RNU: a\n  - RUN: a\n    vars: {tiemout: 3}\n- target: all\n  jobs:\n  - CMD: a\n- RUN: a\n"
    with pytest.raises(LanguageErrors) as raised:
        make(text)
    assert [line.split(":")[1] for line in raised.value.lines] == ["2", "3", "5", "7", "8"]


def test_twenty_errors_are_enough(make: Any) -> None:
    with pytest.raises(LanguageErrors) as raised:
        make("RNU a\n" * 30)
    assert [line.partition(": ")[0] for line in raised.value.lines[:-1]] == [f"exec:{n}" for n in range(1, 21)]
    assert raised.value.lines[-1] == "these are the first 20 errors; there may be more"


def test_one_error_stays_as_it_is(make: Any) -> None:
    with pytest.raises(NoTargetError) as raised:
        make("FROM nobody AS x\nRUN a\nFROM x\nRUN b\n")
    assert not raised.value.lines
