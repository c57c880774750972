"""Who gets a name, by data: the request, the holder and the mode in; what is done out."""

from __future__ import annotations

import dataclasses

import pytest

from director.server.enrolment_rules import AUTO, MANUAL, TOKEN, Act, Decision, Holder, Request, TokenRow, decide
from director.server.token_book import TokenBook

NOW = 1000.0
TOKENS = {
    "once": TokenRow("once", "", 0.0, "root", 2000.0),
    "again": TokenRow("again", "", 0.0, "root", 2000.0, reusable=True),
    "full": TokenRow("full", "", 0.0, "root", 2000.0, max_nodes=3, used=3),
    "old": TokenRow("old", "", 0.0, "root", 1000.0),
    "revoked": TokenRow("revoked", "", 0.0, "root", 2000.0, revoked_at=500.0),
}
GONE, THERE, UNKNOWN = True, False, None


def asked(
    token: str = "", mode: str = AUTO, holder: Holder | None = None, why: str = "", fits: bool = True
) -> Decision:
    """The decision for key `new` that asks for the name `web`."""
    return decide(Request("web", "new", TOKENS.get(token), fits), holder, mode, NOW, why)


@pytest.mark.parametrize(
    ("token", "mode", "why", "act"),
    [
        ("", AUTO, "", Act.ENROL),
        ("", AUTO, "that network is not one of --enroll-from", Act.WAIT),
        ("", TOKEN, "", Act.WAIT),
        ("", MANUAL, "", Act.WAIT),
        ("once", AUTO, "that network is not one of --enroll-from", Act.ENROL),
        ("once", TOKEN, "", Act.ENROL),
        ("once", MANUAL, "", Act.WAIT),
        ("full", TOKEN, "", Act.REFUSE),
        ("old", AUTO, "", Act.REFUSE),
        ("revoked", AUTO, "", Act.REFUSE),
    ],
)
def test_a_new_name(token: str, mode: str, why: str, act: Act) -> None:
    found = asked(token, mode, None, why)
    assert found.act is act
    assert found.uses_place == (act is Act.ENROL and bool(token))


@pytest.mark.parametrize("mode", [AUTO, TOKEN, MANUAL])
@pytest.mark.parametrize(
    ("token", "holder", "act"),
    [
        ("", Holder("old"), Act.WAIT),
        ("", Holder("old", is_gone=GONE), Act.WAIT),
        ("", Holder("old", renew_until=1001.0, is_gone=GONE), Act.WAIT),
        ("again", Holder("old", "once", is_gone=GONE), Act.WAIT),
        ("once", Holder("old", "once", is_gone=GONE), Act.WAIT),
        ("again", Holder("old", "again", is_gone=UNKNOWN), Act.ASK_HOLDER),
        ("again", Holder("old", "again", is_gone=GONE), Act.TAKE_OVER),
        ("again", Holder("old", "again", is_gone=THERE), Act.WAIT),
        ("once", Holder("old", renew_until=1001.0), Act.TAKE_OVER),
        ("once", Holder("old", renew_until=1000.0), Act.WAIT),
        ("full", Holder("old", renew_until=1001.0), Act.TAKE_OVER),
        ("old", Holder("old", renew_until=1001.0), Act.REFUSE),
        ("revoked", Holder("old", "revoked", is_gone=GONE), Act.REFUSE),
        ("again", Holder("old", "again", is_gone=GONE, revoked=True), Act.WAIT),
        ("once", Holder("old", renew_until=1001.0, revoked=True), Act.TAKE_OVER),
        ("old", Holder("new"), Act.KEEP),
        ("", Holder("new"), Act.KEEP),
    ],
)
def test_a_known_name(mode: str, token: str, holder: Holder, act: Act) -> None:
    found = asked(token, mode, holder)
    assert found.act is act and not found.uses_place


@pytest.mark.parametrize("holder", [None, Holder("old", "again", renew_until=1001.0, is_gone=GONE)])
def test_a_key_that_is_bound_to_another_name_waits(holder: Holder | None) -> None:
    found = decide(Request("web", "new", TOKENS["again"], bound="it is db"), holder, AUTO, NOW)
    assert found == Decision(Act.WAIT, "it is db")


def test_the_name_must_be_one_of_the_tokens() -> None:
    fault = dataclasses.replace(TOKENS["again"], nodes="db-*")
    found = decide(Request("web", "new", fault, fits=False), None, TOKEN, NOW)
    assert found == Decision(Act.REFUSE, "the token again is for the nodes db-*, not for web")


@pytest.mark.parametrize(
    ("nodes", "within", "names"),
    [
        ("", (), ["db-1", "web-1", "web-2"]),
        ("web-*", (), ["web-1", "web-2"]),
        ("", ("web-1", "db-*"), ["db-1", "web-1"]),
        ("*-1", ("web-*",), ["web-1"]),
        ("*-1 or web-2", ("web-*",), ["web-1", "web-2"]),
        ("~web-(1|x)", ("web-*",), ["web-1"]),
        ("db-1", ("web-*",), []),
        ("web-1", ("label:tier=web",), []),
    ],
)
def test_the_names_of_a_token_are_bounded_twice(nodes: str, within: tuple[str, ...], names: list[str]) -> None:
    row = dataclasses.replace(TOKENS["once"], nodes=nodes, within=within)
    assert [name for name in ("db-1", "web-1", "web-2") if TokenBook.fits(row, name)] == names


def test_the_reason_names_every_way_to_a_known_name() -> None:
    reason = asked(holder=Holder("old")).reason
    for way in ("reusable token", "--renew-node web", "--accept-node web", "--purge-nodes --node web", "--identity"):
        assert way in reason
