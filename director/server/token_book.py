"""The tokens of this server: kept in memory and in the ledger; checks who has proved one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import Any

from director.errors import BusyError, NotFoundError
from director.protocol import tokens
from director.protocol.tokens import Token
from director.server.enrolment_rules import TokenRow
from director.targets import names_match

MOST = 10_000  # tokens; those that ended more than `KEEP` ago make room
KEEP = 30 * 86400.0  # seconds that a token is listed after its end


class TokenBook:
    """Tokens by id.

    Args:
        rows: as the ledger has them.
        server_key: which every token names.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], server_key: str) -> None:
        self._rows = {row["id"]: TokenRow(**row) for row in rows}
        self._server_key = server_key

    def __iter__(self):  # type: ignore[no-untyped-def]  # Iterator[TokenRow], the oldest first
        return iter(sorted(self._rows.values(), key=lambda row: row.created_at))

    def get(self, id: str) -> TokenRow:
        """A token by its id. Raises NotFoundError."""
        row = self._rows.get(id)
        if row is None:
            raise NotFoundError(f"there is no token {id}; director --list-tokens shows all")
        return row

    def make(self, addresses: tuple[str, ...], **fields: Any) -> tuple[Token, TokenRow]:
        """A new token and its row, which is in force once it was `put`. Raises BusyError: there are too many."""
        now = time.time()
        for id in [row.id for row in self._rows.values() if now > KEEP + min(row.expires_at, row.revoked_at or now)]:
            del self._rows[id]
        if len(self._rows) >= MOST:
            raise BusyError(f"there are {MOST} tokens; revoke some, they are forgotten 30 days later")
        token = tokens.new_token(addresses, self._server_key)
        return token, TokenRow(token.id, token.verify_key(), now, **fields)

    def put(self, row: TokenRow) -> tuple[str, dict[str, Any]]:
        """Add or replace a token; the operation that records it."""
        self._rows[row.id] = row
        return "token", {**dataclasses.asdict(row), "labels": dict(row.labels)}

    def use(self, id: str) -> tuple[str, dict[str, Any]]:
        """Take a place; the operation that records it."""
        return self.put(dataclasses.replace(self._rows[id], used=self._rows[id].used + 1))

    def revoke(self, id: str) -> tuple[str, dict[str, Any]]:
        """End a token; the operation that records it. Raises NotFoundError."""
        row = self.get(id)
        return self.put(dataclasses.replace(row, revoked_at=row.revoked_at or time.time()))

    def proved(self, id: str, proof: str, key: str, name: str) -> TokenRow | None:
        """The token, when the client with this key has proved its secret for this name."""
        row = self._rows.get(id)
        if row is None or not tokens.is_proof(proof, row.verify_key, self._server_key, key, name):
            return None
        return row

    @staticmethod
    def fits(row: TokenRow, name: str) -> bool:
        """Whether the token enrols this name."""
        if row.within and not any(names_match(expression, name) for expression in row.within):
            return False
        return not row.nodes or names_match(row.nodes, name)
