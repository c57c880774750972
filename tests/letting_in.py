"""The part of a server that lets keys in, for tests that have no whole server."""

from __future__ import annotations

from typing import Any

from director.server.enrolment import Enrolment
from director.server.membership import Membership
from director.server.networks import Networks
from director.server.revoked_keys import RevokedKeys
from director.server.rotation import Rotation
from director.server.token_book import TokenBook

SERVER_KEY = "s" * 40


def rotation(roster: Any, ledger: Any, sender: Any) -> Rotation:
    """A `Rotation` of keys, none of which is revoked yet."""
    return Rotation(roster, RevokedKeys(()), ledger, sender.send)


def enrolment(
    roster: Any, scheduler: Any, ledger: Any, identify: Any, *, mode: str = "auto", networks: str = "private",
    interval: float = 60.0, server_key: str = SERVER_KEY,
) -> Enrolment:  # fmt: skip
    """An `Enrolment` with no tokens and no revoked keys yet."""
    revoked = RevokedKeys(())
    membership = Membership(roster, scheduler, lambda name, record: None, revoked)
    return Enrolment(
        roster,
        membership,
        TokenBook((), server_key),
        revoked,
        ledger,
        mode,
        Networks([networks]),
        identify,
        interval,
        lambda kind, what: None,
    )


class NoStrangers:
    """Has the methods of `StrangerLimits` that sessions call; every peer may ask."""

    def may_ask(self, key: str, with_proof: bool) -> bool:
        """Always."""
        return True

    def is_node(self, record: Any, key: str, frame: Any) -> None:
        """There is no connection."""
