"""The table of keys that wait: one row a name and key, bounds, and what a purge leaves behind."""

from __future__ import annotations

from director.server import pending
from director.server.pending import PendingTable


def test_a_row_for_each_name_and_key() -> None:
    table = PendingTable()
    assert table.add("web", "a", "192.0.2.1", "why", 1.0, 1001.0)
    assert table.add("web", "b", "192.0.2.1", "why", 2.0, 1002.0)
    assert not table.add("web", "a", "192.0.2.1", "another reason", 3.0, 1003.0)
    assert [(row.key, row.since, row.at, row.reason) for row in table.named("web")] == [
        ("b", 1002.0, 2.0, "why"),
        ("a", 1001.0, 3.0, "another reason"),
    ]
    table.drop("web", "b")
    assert [row.key for row in table] == ["a"]


def test_one_address_cannot_fill_the_table() -> None:
    table = PendingTable()
    for number in range(pending.MOST_AN_ADDRESS):
        assert table.add(f"n{number}", "k", "192.0.2.1", "", 0.0, 0.0)
    assert not table.add("more", "k", "192.0.2.1", "", 0.0, 0.0)
    assert table.add("more", "k", "192.0.2.2", "", 0.0, 0.0)
    table.drop("n0", "k")
    assert table.add("again", "k", "192.0.2.1", "", 0.0, 0.0)


def test_a_full_table_drops_nobody_for_a_newcomer() -> None:
    table = PendingTable()
    for number in range(pending.MOST):
        assert table.add(f"n{number}", "k", str(number), "", 0.0, 0.0)
    assert not table.add("more", "k", "another", "", 1.0, 0.0)
    assert len(list(table)) == pending.MOST
    assert table.add("more", "k", "another", "", pending.TTL, 0.0), "the silent ones are forgotten"
    assert len(list(table)) == 1


def test_who_waited_at_a_purge_is_remembered_for_a_day() -> None:
    table = PendingTable()
    table.add("web", "a", "192.0.2.1", "", 0.0, 0.0)
    table.add("db", "a", "192.0.2.1", "", 0.0, 0.0)
    table.mark(["web"], 10.0)
    table.drop("web", "a")
    assert table.is_marked("web", "a", 20.0)
    assert not table.is_marked("db", "a", 20.0)
    assert not table.is_marked("web", "b", 20.0)
    assert not table.is_marked("web", "a", 10.0 + pending.MARKED_TTL)


def test_marks_are_bounded() -> None:
    table = PendingTable()
    for number in range(pending.MARKED + 1):
        table.add(f"n{number}", "k", "192.0.2.1", "", 0.0, 0.0)
        table.mark([f"n{number}"], 0.0)
        table.drop(f"n{number}", "k")
    assert not table.is_marked("n0", "k", 0.0) and table.is_marked("n1", "k", 0.0)
