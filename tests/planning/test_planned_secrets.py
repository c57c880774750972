"""What a plan says of secrets and of `--arg`: which steps use which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from verb_node import Fleet, drive

from director.errors import LanguageError, LanguageErrors
from director.transfer.blobs import BlobStore


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Plans a text for two nodes; `db` and `key` are given."""
    blobs = BlobStore(str(tmp_path / "blobs"))
    (tmp_path / "in").write_text("{{ secret('key') }} {{ VERSION }}")
    fleet = Fleet(web_01=True, db=True)
    return lambda text, **options: drive(text, tmp_path, blobs, fleet, secrets=["db", "key"], **options)


def test_the_steps_that_use_a_secret(make: Any) -> None:
    made = make(
        "RUN --mount=type=secret,id=db,env=X a\nRUN b\nCOPY --blueprint in /x\n"
        "COPY <<x /y\n{{ secret('db') }} {{ secret('key') }}\nx\nCOPY in /z"
    )
    assert made.meta()["secrets"] == {"db": [[0, 0], [3, 3]], "key": [[2, 3]]}
    assert [step.row.get("secrets") for step in made.steps] == [["db"], None, ["key"], ["db", "key"], None]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("RUN --mount=type=secret,id=other x", "add --secret id=other,src=FILE"),
        ("COPY <<x /y\n{{ secret(node.id) }}\nx", "named by a text in quotes"),
        ("COPY <<x /y\n{{ secret }}\nx", "named by a text in quotes"),
        ("COPY {{ secret('db') }} /x", "in files with --blueprint"),
        ("ENV X={{ secret('db') }}", "in files with --blueprint"),
        ("RUN --mount=type=secret,id=a/b x", "is no name for a secret"),
        ("RUN --mount=type=secret,id=db,bar=1 x", "bar is not known"),
        ("RUN --mount=type=secret,id=db,required=false x", "always required"),
        ("FROM fact:os.id=debian\nRUN --mount=type=secret,id=db x", "chosen by facts"),
        ("ARG secret=1", "no name for an ARG"),
    ],
)
def test_what_cannot_be(make: Any, text: str, wrong: str) -> None:
    with pytest.raises((LanguageError, LanguageErrors), match=wrong.replace("(", r"\(")):
        make(text)


def test_the_steps_that_may_use_an_arg(make: Any) -> None:
    args = {"VERSION": "1", "TOKEN": "x", "http_proxy": "p"}
    made = make("ECHO {{ VERSION }}\nRUN b\nCOPY --blueprint in /x\nARG TOKEN\nCACHEFILE /y", args=args)
    assert made.meta()["args"] == {
        "VERSION": [[0, 0], [2, 2], [4, 4]], "TOKEN": [[2, 4]], "http_proxy": [[1, 2], [4, 4]],
    }  # fmt: skip
    assert make("RUN b").meta()["args"] == {}
