"""What a plan says of the labels that its LABEL steps give: nothing in it comes from a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from verb_node import Fleet, drive

from director.errors import DirectorError
from director.planning.planner import plan
from director.transfer.blobs import BlobStore

ALL: dict[str, Any] = {"of": {}}
WAY_OUT = "--label-node"

KNOWN: list[tuple[str, dict[str, str]]] = [
    ("LABEL tier=web rack='A 12' old=", {"tier": "web", "rack": "A 12", "old": ""}),
    ("LABEL {{ 'ti' + 'er' }}=w*", {"tier": "w*"}),
    ("LABEL --raw a={{ x }}", {"a": "{{ x }}"}),
    ("ARG A=1\nARG B=$A.{{ A }}\nLABEL v=$B", {"v": "1.1"}),
    ("ARG G\nLABEL v=$G", {"v": "given"}),
    ("ARG A=1 G=2\nENV A=$A G=$G\nLABEL v=$A.$G", {"v": "1.given"}),
    ("CACHEFILE /x\nLABEL v=$G", {"v": "given"}),
    ("CACHEFILE /x\nARG A=1\nLABEL v=$A", {"v": "1"}),
    ("RUN --stdout-arg G true\nLABEL v=$G", {"v": "given"}),
    ("ARG A=*\nLABEL v=$A", {"v": "*"}),
]

FROM_NODES: list[str] = [
    "LABEL v={{ facts.os.id }}",
    "LABEL v={{ query }}",
    "QUERY hostname\nARG A={{ query }}\nLABEL v=$A",
    "LABEL v=$HOME",
    "LABEL v=$NEVER",
    "LABEL v=${NEVER:-x}",
    "ARG A\nLABEL v=$A",  # the node may remember it
    "ARG A\nARG B=${A:-x}\nLABEL v=$B",
    "ARG A={{ facts.os.id }}\nLABEL v=$A",
    "ARG TARGETARCH\nLABEL v=$TARGETARCH",
    "ARG A=1\nRUN --stdout-arg A uptime\nLABEL v=$A",
    "ARG A=1\nCACHEFILE /etc/values\nLABEL v=$A",
    "ARG A=1\nENV A=2\nLABEL v=$A",
    "ARG A=1\nENV A=$A\nARG A=2\nLABEL v=$A",
    "ARG --extend-args A=[1]\nLABEL v=$A",
    "ARG --extend-args G=[1]\nLABEL v=$G",
    "ARG A=1\nFROM web-01\nRUN --stderr-arg A uptime\nFROM all\nLABEL v=$A",
    "ARG A=1\nFROM web-01\nARG A=2\nFROM all\nLABEL v=$A",
    "LABEL {{ facts.os.id }}=1",
]


def labels_of(text: str, folder: Path, **options: Any) -> dict[str, Any]:
    """The plan's labels by step."""
    fleet = Fleet(web_01=True, db_01=True)
    found: dict[str, Any] = drive(text, folder, BlobStore(str(folder / "b")), fleet, **options).meta()["labels"]
    return found


@pytest.mark.parametrize(("text", "labels"), KNOWN, ids=[text for text, _ in KNOWN])
def test_labels_that_are_known_when_planned(text: str, labels: dict[str, str], tmp_path: Path) -> None:
    (found,) = labels_of(text, tmp_path, args={"G": "given"}).values()
    assert found == {"sets": [labels], **ALL}


@pytest.mark.parametrize("text", FROM_NODES)
def test_a_label_that_depends_on_what_a_node_says_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DirectorError) as error:
        labels_of(text, tmp_path, args={"G": "[0]"})
    assert str(error.value).startswith(f"exec:{text.count(chr(10)) + 1}: ") and WAY_OUT in str(error.value)
    assert error.value.exit_code == 2


def test_labels_by_node(tmp_path: Path) -> None:
    text = "LABEL at={{ node.id }}\nLABEL gen=2\nLABEL was={{ node.labels.gen }}.{{ node.labels.at }} tier="
    first, second, third = labels_of(text, tmp_path).values()
    assert first == {"sets": [{"at": "web-01"}, {"at": "db-01"}], "of": {"web-01": 0, "db-01": 1}} or (
        first == {"sets": [{"at": "db-01"}, {"at": "web-01"}], "of": {"db-01": 0, "web-01": 1}}
    )
    assert second == {"sets": [{"gen": "2"}], **ALL}
    assert {name: third["sets"][number] for name, number in third["of"].items()} == {
        "web-01": {"was": "2.web-01", "tier": ""}, "db-01": {"was": "2.db-01", "tier": ""},
    }  # fmt: skip


def test_a_label_that_no_node_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(DirectorError, match=r"exec:1: .*nope"):
        labels_of("LABEL a={{ node.labels.nope }}", tmp_path)


def test_only_label_gives_labels(tmp_path: Path) -> None:
    assert labels_of("ARG A=1\nENV B=2\nRUN true", tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "target", "lines"),
    [
        ("FROM fact:os.id=debian\nRUN true", [], [1]),
        ("FROM fact:os.id=debian AS some\nRUN true\nFROM some\nRUN true\nFROM web-01\nRUN true", [], [1, 3]),
        ("FROM fact:os.id=debian\nRUN true", ["label:tier=web"], []),
        ("FROM label:tier=web and fact:os.id=debian\nRUN true", [], []),
        ("FROM all\nRUN true", ["fact:os.id=debian"], [1]),
        ("RUN true", ["fact:os.id=debian"], [1]),
        ("RUN true", ["web-01", "fact:os.id=debian"], [1]),
        ("RUN true", [], []),
    ],
)
def test_a_plan_remarks_on_nodes_that_choose_themselves(
    text: str, target: list[str], lines: list[int], tmp_path: Path
) -> None:
    file = {"name": "f", "form": "auto", "text": text, "folder": str(tmp_path)}
    request = {"file": file, "options": {"target": target}, "explain": True}
    steps = plan(request, Fleet(web_01=True, db_01=True), BlobStore(str(tmp_path / "b")))
    with pytest.raises(StopIteration) as end:
        next(steps)
    found = [line for line in end.value.value.warnings if "chosen by facts" in line]
    assert [line.split(":")[:2] for line in found] == [["f", str(number)] for number in lines]
