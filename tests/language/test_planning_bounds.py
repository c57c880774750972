"""Arbitrary texts planned with the real verbs raise documented errors only; warnings are single lines."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from director import verbs
from director.errors import DirectorError
from director.planning.plan import Plan
from director.planning.planner import plan
from director.transfer.blobs import BlobStore
from director.verbs.base import Entry

_WORDS = st.sampled_from(
    [
        *("a", "/x", "/x/", "b.conf", "A=1", "$A", "${A:-b}", "{{ A }}", "{{ node.id }}", "{{", "}}", "{% if A %}"),
        *('"', "'", "--chmod=0644", "--target", "all", "--stdout-arg=B", "--blueprint", "--from=web", "--retry=2"),
        *("--timeout=", "--raw", '["a", "b"]', "[", "CMD true", "NONE", "80", "53/udp", "--url=http://a", "--cmd"),
        *("--seconds 1", "x", "\\", "AS w", "<<E", "\nE", "web", "not", "(", "label:a=b", "fact:os.id", "=", "é"),
        *("**", "https://", "--run-once", "--help"),
    ]
)
_LINE = st.tuples(st.sampled_from([*verbs.VERBS, "RUNN", "run"]), st.lists(_WORDS, max_size=5).map(" ".join)).map(
    " ".join
)
_STEP = st.tuples(st.sampled_from(list(verbs.VERBS)), st.lists(_WORDS, max_size=4).map(" ".join)).map(
    lambda pair: f"  - {pair[0]}: {pair[1]}"
)
TEXTS = st.one_of(
    st.lists(_LINE, max_size=6).map("\n".join),
    st.lists(_STEP, min_size=1, max_size=4).map(lambda steps: "\n".join(["- jobs:", *steps])),
)


class OneNode:
    """A roster of one node that is online."""

    def names(self) -> list[str]:
        """The one name."""
        return ["web"]

    def has(self, name: str) -> bool:
        """Whether the node has this name."""
        return name == "web"

    def revoked(self, name: str) -> bool:
        """None is."""
        return False

    def online(self, name: str) -> bool:
        """Always."""
        return True

    def labels(self, name: str) -> Mapping[str, str]:
        """One."""
        return {"a": "b"}

    def facts(self, name: str) -> Mapping[str, Any]:
        """One."""
        return {"os": {"id": "debian"}}


def planned(text: str, blobs: BlobStore) -> Plan:
    """The plan; every source is one small file."""
    file = {"name": "f", "form": "auto", "text": text, "folder": "/nowhere"}
    steps = plan({"file": file, "options": {"args": {"A": "1"}}, "explain": True}, OneNode(), blobs)
    digest, size = blobs.put_bytes(b"text")
    answer: Any = None
    try:
        while True:
            steps.send(answer)
            answer = [Entry("", "file", 0o644, size, digest, "", "b.conf")]
    except StopIteration as end:
        found: Plan = end.value
        return found


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TEXTS.filter(lambda text: "https://" not in text or "ADD" not in text))
def test_planning(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = planned(text, BlobStore(folder))
        except DirectorError as error:
            assert str(error) and "\n" not in str(error) and error.exit_code in (2, 5)
            return
        assert made.meta()["step_count"] == len(made.steps) and made.chunks()
        assert all("\n" not in line for line in (*made.notes, *made.warnings))
