"""A state folder that lost its ledger or its key is noticed at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from director import stores
from director.errors import StartError
from director.protocol import keys
from director.server import ledger_identity


def begin(folder: Path, store: str = "sqlite") -> str:
    """Create the files of a server's first start; its public key."""
    ledger_identity.require(str(folder), store, False)
    key = keys.load_or_make(str(folder)).public
    stores.open_store(store, str(folder)).close()
    ledger_identity.write(str(folder), store, key)
    return key


def fault(folder: Path, store: str = "sqlite") -> str:
    with pytest.raises(StartError, match=r"restore it from a backup, or begin anew with --new-ledger") as caught:
        ledger_identity.require(str(folder), store, False)
    return str(caught.value)


@pytest.mark.parametrize("store", ["sqlite", "memory:"])
def test_a_complete_folder_is_accepted(tmp_path: Path, store: str) -> None:
    key = begin(tmp_path, store)
    assert begin(tmp_path, store) == key
    (tmp_path / ledger_identity.NAME).unlink()  # a folder of an earlier version
    assert begin(tmp_path, store) == key and (tmp_path / ledger_identity.NAME).exists()


def test_the_error_names_what_is_missing(tmp_path: Path) -> None:
    begin(tmp_path)
    ledger, key = tmp_path / "ledger.sqlite", tmp_path / "curve.key"
    whole = ledger.read_bytes()
    ledger.write_bytes(b"")
    assert "ledger.sqlite is missing or empty" in fault(tmp_path)
    ledger.unlink()
    assert "ledger.sqlite is missing or empty" in fault(tmp_path)
    ledger.write_bytes(whole)
    pair = key.read_bytes()
    key.unlink()
    assert "curve.key is missing beside its ledger" in fault(tmp_path)
    keys.load_or_make(str(tmp_path))
    assert "curve.key is another than that of the ledger" in fault(tmp_path)
    key.write_bytes(pair)
    assert "in the store sqlite, not in memory:" in fault(tmp_path, "memory:")
    ledger_identity.require(str(tmp_path), "sqlite", False)


def test_a_key_that_is_missing_is_noticed_in_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / ledger_identity.NAME).unlink()
    (tmp_path / "curve.key").unlink()
    assert "curve.key is missing beside its ledger" in fault(tmp_path)


def test_an_identity_that_cannot_be_read_does_not_match(tmp_path: Path) -> None:
    begin(tmp_path)
    for text in ("", "[]", "\0" * 40):
        (tmp_path / ledger_identity.NAME).write_text(text)
        assert "cannot be read" in fault(tmp_path)


def test_a_new_ledger_puts_the_old_one_aside(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "curve.key").unlink()
    old = (tmp_path / "ledger.sqlite").read_bytes()
    ledger_identity.require(str(tmp_path), "sqlite", True)
    aside = next(tmp_path.glob("ledger.replaced-*"))
    assert (aside / "ledger.sqlite").read_bytes() == old and not (tmp_path / "ledger.sqlite").exists()
    key = begin(tmp_path)
    ledger_identity.require(
        str(tmp_path), "sqlite", True
    )  # it may stay on the command line: nothing is put aside again
    assert begin(tmp_path) == key and len(list(tmp_path.glob("ledger.replaced-*"))) == 1
