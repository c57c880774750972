"""The nodes the server knows, by name, by key and by connection."""

from __future__ import annotations

from director.server.roster import NodeRecord, Roster


def test_a_node_is_found_by_name_key_and_connection() -> None:
    roster, record = Roster(), NodeRecord("a", "k1", facts='{"cpu": {"count": 2}}', labels={"x": "y"})
    roster.add(record)
    roster.attach(record, b"1")
    assert roster.nodes["a"] is roster.by_key["k1"] is roster.by_peer[b"1"] is record
    assert (list(roster.names()), roster.has("a"), roster.has("b")) == (["a"], True, False)
    assert (roster.labels("a"), roster.facts("a"), roster.online("a")) == ({"x": "y"}, {"cpu": {"count": 2}}, False)


def test_a_new_connection_replaces_the_old_one() -> None:
    roster, record = Roster(), NodeRecord("a", "k1")
    roster.add(record)
    roster.attach(record, b"1")
    roster.attach(record, b"2")
    assert list(roster.by_peer) == [b"2"]
    roster.detach(record)
    roster.detach(record)
    assert (roster.by_peer, record.peer) == ({}, None)


def test_a_new_key_replaces_the_old_one() -> None:
    roster, old, new = Roster(), NodeRecord("a", "k1"), NodeRecord("a", "k2")
    roster.add(old)
    roster.attach(old, b"1")
    roster.add(new)
    assert (list(roster.by_key), roster.by_peer, roster.nodes["a"]) == (["k2"], {}, new)


def test_a_node_is_forgotten_everywhere() -> None:
    roster, record = Roster(), NodeRecord("a", "k1")
    roster.add(record)
    roster.attach(record, b"1")
    roster.remove("a")
    assert not (roster.nodes or roster.by_key or roster.by_peer)


def test_online_and_offline() -> None:
    record = NodeRecord("a", "k1")
    assert record.state == "offline"
    record.online = True
    assert record.state == "online"
