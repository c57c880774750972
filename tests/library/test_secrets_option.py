"""`--secret`: where a value comes from, and what is said of one that cannot be used; never the value itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.errors import UsageError
from director.library.secrets import Sealer, read
from director.protocol import keys


def test_values_come_from_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(b"\x00\xff\n" * 2)
    monkeypatch.setenv("PASSWORD", "hunter2")
    assert read([f"id=key,src={tmp_path}/key", "env=PASSWORD,id=db.main"]) == {
        "key": b"\x00\xff\n" * 2, "db.main": b"hunter2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "wrong"),
    [
        (["hunter2"], "it has no id; expected id=NAME,src=FILE"),
        (["id=db"], "id=db and then; expected"),
        (["id=db,hunter2"], "id=db and then; expected"),
        (["id=db,src=/etc/passwd,env=HOME"], "id=db and then; expected"),
        (["id=1,env=HOME"], "expected a letter"),
        (["id=db,env=HOME", "id=db,env=HOME"], "id=db is given twice"),
        (["id=db,src=/nonexistent"], "/nonexistent: No such file"),
        (["id=db,src=/"], "/: Is a directory"),
        (["id=db,src=/dev/zero"], "larger than 64 KiB"),
    ],
)
def test_what_cannot_be_used(texts: list[str], wrong: str) -> None:
    with pytest.raises(UsageError) as error:
        read(texts)
    assert wrong in str(error.value) and "hunter2" not in str(error.value)


def test_only_what_was_given_is_sealed() -> None:
    pair = keys.with_opening(keys.new_pair())
    with pytest.raises(UsageError, match="the secret other is not given"):
        Sealer({"db": b"hunter2"}).answer({"job": "j", "secrets": {"other": [[0, 0]]}, "keys": [pair.sealing[0]]})
