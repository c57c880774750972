"""Lines of the audit log: what they show of a call, and which refusals are counted."""

from __future__ import annotations

from typing import Any

import pytest
import ujson

from director.errors import StoreError
from director.server.audit import COUNTED, DENIALS, TEXT, AuditTrail, Entry, line, shown
from director.workers.audit_files import LINE_LIMIT


class Ledger:
    """A disk that takes what comes, or refuses it."""

    def __init__(self) -> None:
        self.stuck, self.error = "", None  # type: tuple[str, str | None]
        self.rows: list[dict[str, Any]] = []

    def write(self, *operations: Any, then: Any = None, refusable: bool = False, lazy: bool = False) -> None:
        if refusable and self.error:
            then(self.error)
            return
        self.rows += [fields["entry"] for _, fields in operations]

    def commit(self, *operations: Any, refusable: bool = False) -> None:
        if self.error:
            raise StoreError(self.error)
        self.write(*operations)


def trail() -> tuple[Ledger, AuditTrail]:
    ledger: Any = Ledger()
    return ledger, AuditTrail(ledger)


def call() -> dict[str, Any]:
    return {"command": "x"}


def test_only_what_says_something_is_shown_and_long_texts_are_cut() -> None:
    fields = {"a": None, "b": "", "c": [], "d": 0, "e": False, "f": "x", "g": "y" * (TEXT + 1), "h": ["z" * TEXT] * 2}
    found = shown(fields)
    assert list(found) == ["f", "g", "h"] and found["f"] == "x"
    assert found["g"]["begins"] == "y" * (TEXT * 3 // 4) and found["g"]["characters"] == TEXT + 1
    assert len(found["g"]["sha256"]) == 64 and len(str(found["h"])) < TEXT + 200
    assert shown({"x": "\ud800" * 2 * TEXT})["x"]["sha256"]
    for text in ("\x01" * TEXT, "é" * TEXT, '"' * TEXT, "\n" * 10 * TEXT):
        assert len(ujson.dumps(shown({"x": text}))) < TEXT + 200


@pytest.mark.parametrize("value", ["\U0001f600" * 2_000_000, ["\x1b"] * 500_000, {"x": {"y": "\n" * 2_000_000}}])
def test_a_line_is_bounded_whatever_a_caller_gives(value: Any) -> None:
    _, fields = line("command", ["a"], arguments=shown({"a": value, "b": value}), options={"x": value}, reason=value)
    assert len(ujson.dumps(fields["entry"])) < LINE_LIMIT // 2


def test_what_cannot_be_written_is_not_done() -> None:
    ledger, log = trail()
    entry = Entry(log, 5, call)
    ledger.stuck = "the disk is full"
    with pytest.raises(StoreError, match=r"the disk is full; nothing was done$"):
        entry.write(["a"])
    ledger.stuck, ledger.error = "", "no room"
    with pytest.raises(StoreError, match="no room"):
        entry.write(["a"])
    entry.fail("it failed")
    assert not entry.written and ledger.rows == []
    entry.order(["a"])
    assert entry.written and [row["event"] for row in ledger.rows] == ["command"], "cancel and revoke go on"


def test_many_refusals_are_counted() -> None:
    ledger, log = trail()
    for _ in range(DENIALS + 7):
        Entry(log, 5, call).deny("no")
    Entry(log, 6, call).deny("no")
    for _ in range(3):
        Entry(log, 9, call).deny_stranger()
    assert [row["event"] for row in ledger.rows] == ["denied"] * (DENIALS + 1)
    ledger.rows.clear()
    log.write_counts()
    (row,) = ledger.rows
    assert row["event"] == "denied-counted" and row["counts"] == {"uid 5": 7, "uid 9, who has no role": 3}
    log.write_counts()
    assert len(ledger.rows) == 1, "nothing is counted twice"


def test_strangers_are_counted_in_bounded_room() -> None:
    ledger, log = trail()
    for number in range(COUNTED * 3):
        log.count("enrolment-refused", f"10.0.0.{number}")
    log.count("revoked-key", "k")
    log.write_counts()
    refused, revoked = (row["counts"] for row in ledger.rows)
    assert sum(refused.values()) == COUNTED * 3 and refused["others"] == COUNTED * 2
    assert len(refused) == COUNTED + 1 and revoked == {"k": 1}


def test_a_note_that_the_disk_refuses_is_counted() -> None:
    ledger, log = trail()
    ledger.error = "no room"
    log.note(line("denied"))
    ledger.error = None
    log.write_counts()
    assert ledger.rows[0]["counts"] == {"not written": 1}
