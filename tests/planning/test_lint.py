"""Warnings of `--plan` about what is legal but likely wrong, with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from director.planning.planner import plan
from director.transfer.blobs import BlobStore

KEPT = "values are kept in plain text on the nodes and shown by --node-info"


class OneNode:
    """A roster of one node that is online."""

    def names(self) -> list[str]:
        """The one name."""
        return ["a"]

    def has(self, name: str) -> bool:
        """Whether the node has this name."""
        return name == "a"

    def revoked(self, name: str) -> bool:
        """None is."""
        return False

    def online(self, name: str) -> bool:
        """Always."""
        return True

    def labels(self, name: str) -> Mapping[str, str]:
        """None."""
        return {}

    def facts(self, name: str) -> Mapping[str, Any]:
        """None."""
        return {}


def remarks(text: str, folder: Path, explain: bool = True, **args: str) -> list[str]:
    """The warnings of a plan without sources."""
    file = {"name": "f", "form": "auto", "text": text, "folder": str(folder)}
    request = {"file": file, "options": {"args": args}, "explain": explain}
    steps = plan(request, OneNode(), BlobStore(str(folder / "blobs")))
    with pytest.raises(StopIteration) as end:
        next(steps)
    warnings: list[str] = end.value.value.warnings
    return warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ARG A=1\nRUN true", ["f:1: ARG A is used by no other step here"]),
        ("ARG A=1\nRUN echo $A", []),
        ("ARG A=1\nECHO {{ A }}", []),
        ("ARG A=a\nFROM $A\nRUN true", []),
        ("- jobs:\n  - ARG: A 1\n  - RUN: 'true'", ["f:2: ARG A is used by no other step here"]),
        ("RUN cd /tmp\nRUN ls", ["f:1: cd applies to this RUN only; use WORKDIR for the steps after it"]),
        ("RUN cd /tmp && ls", []),
        ("ECHO {{ B }}",
         ["f:1: B in a template is set by no step here; unless the nodes remember it, the step will fail"]),
        ("RUN --raw echo {{ B }}", []),
        ("RUN --stdout-arg B true\nECHO {{ B }}", []),
        ("CACHEFILE /x\nECHO {{ B }}", []),
        ("ECHO {% for i in range(3) %}{{ i }}{{ node.id }}{% endfor %}", []),
        ("ENV DB_PASSWORD=x\nRUN true",
         [f"f:1: DB_PASSWORD looks like a secret: {KEPT}; use --secret"]),
        ("RUN --stdout-arg TOKEN true",
         [f"f:1: TOKEN looks like a secret: {KEPT}; write ARG --secret TOKEN before"]),
        ("ARG --secret TOKEN\nRUN --stdout-arg TOKEN true\nRUN echo $TOKEN", []),
        ("ENV MONKEY=x\nRUN true", []),
        ("RUN reboot\nRUN true",
         ["f:1: this RUN restarts the node before the steps after it; use REBOOT, which waits until the node is back"]),
        ("RUN apt-get update; sudo shutdown -r now\nRUN true",
         ["f:1: this RUN restarts the node before the steps after it; use REBOOT, which waits until the node is back"]),
        ("RUN true\nRUN systemctl reboot", []),
        ("RUN echo no-reboot\nRUN true", []),
        ("RUN {{ node.id | shell_code }}",
         ["f:1: with shell_code the shell runs values as code, also what other nodes said"]),
        ("RUN --raw {{ node.id | shell_code }}", []),
        ("ECHO {{ node.id | shell_code }}", []),
        ("RUN ls --user x", ["f:1: --user is behind the first argument and so belongs to the command"]),
    ],
)  # fmt: skip
def test_remarks(text: str, expected: list[str], tmp_path: Path) -> None:
    assert remarks(text, tmp_path) == expected


def test_a_name_that_was_given_is_known(tmp_path: Path) -> None:
    assert remarks("ECHO {{ B }}", tmp_path, B="1") == []


def test_only_a_plan_is_told(tmp_path: Path) -> None:
    assert remarks("ARG A=1\nRUN cd /tmp\nRUN reboot\nRUN true", tmp_path, explain=False) == []
