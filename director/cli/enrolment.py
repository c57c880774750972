"""The actions about tokens, keys that wait, and names that change their keys."""

from __future__ import annotations

from director.cli.confirm import ask_yes, can_ask, confirm_nodes
from director.cli.output import answer, note
from director.cli.requests import as_list, listing, rows_of, show
from director.cli.server import ask, connect
from director.config.settings import Settings
from director.errors import EXIT_OK, NoTargetError, UsageError
from director.report.tables import TOKEN_COLUMNS, TOKEN_FIELDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

TOKEN_TTL = 3600.0  # seconds
RENEW_TTL = 4 * 3600.0


def create_token(settings: Settings) -> int:
    """Print a new token, alone on a line; what it is good for goes to stderr."""
    request = {
        "do": "create-token", "ttl": settings.ttl or TOKEN_TTL, "max_nodes": settings.max_nodes,
        "nodes": settings.nodes or "", "labels": settings.label, "reusable": settings.reusable,
    }  # fmt: skip
    row = ask(settings, request)
    if settings.output != "table":
        return show(settings, [row], {"TOKEN": "token", **TOKEN_COLUMNS}, ("token", *TOKEN_FIELDS))
    answer((row["token"] + "\n",))
    addresses = ", ".join(row["addresses"])
    note(f"token {row['id']}, until {row['expires_at']}; clients with it connect to {addresses} (--advertise-address)")
    return EXIT_OK


def list_tokens(settings: Settings) -> int:
    """List tokens, the newest last; never their secrets."""
    return listing(settings, lambda: {"do": "list-tokens"}, as_list(settings, TOKEN_COLUMNS, TOKEN_FIELDS))


def revoke_token(settings: Settings) -> int:
    """End a token; with --with-nodes the nodes that it enrolled are revoked too."""
    id = settings.words[0]
    if settings.with_nodes and can_ask(settings):
        nodes = rows_of(settings, {"do": "list-nodes", "token": id})
        confirm_nodes(settings, [row["id"] for row in nodes], "this revokes the keys of")
    count = ask(settings, {"do": "revoke-token", "id": id, "with_nodes": settings.with_nodes})["count"]
    note(f"revoked the token {id}" + (f" and {_keys(count)} of its nodes" if settings.with_nodes else ""))
    return EXIT_OK


def accept_node(settings: Settings) -> int:
    """Give waiting keys their names, after a look at the keys."""
    return _decide(settings, "accept")


def reject_node(settings: Settings) -> int:
    """Forget waiting keys."""
    return _decide(settings, "reject")


def renew_node(settings: Settings) -> int:
    """Open names once for a new key with any token."""
    done = ask(settings, {"do": "renew-node", "node": settings.words[0], "ttl": settings.ttl or RENEW_TTL})
    note(f"until {done['until']} a new key with any token gets the name of each of {len(done['nodes'])} nodes, once")
    return EXIT_OK


def revoke_node(settings: Settings) -> int:
    """Forbid the keys of nodes; after a question just of those that it named."""
    expression = settings.words[0]
    if can_ask(settings):
        names = [row["id"] for row in rows_of(settings, {"do": "list-nodes", "node": expression})]
        expression = confirm_nodes(settings, names, "this revokes the keys of") or expression
    done = ask(settings, {"do": "revoke-node", "node": expression})
    note(f"revoked {_keys(len(done['nodes']))}")
    return EXIT_OK


def rotate_key(settings: Settings) -> int:
    """Let nodes replace their keys."""
    done = ask(settings, {"do": "rotate-key", "node": settings.words[0]})
    count = len(done["nodes"])
    note(f"{_keys(count)} will be replaced, those of nodes that are offline when these are back")
    return EXIT_OK


def _decide(settings: Settings, verb: str) -> int:
    expression = settings.words[0]
    with connect(settings) as connection:
        request = {"do": "list-waiting", "node": expression, "keys": settings.key}
        rows = [row for rows in connection.items(request) for row in rows]
        if not rows:
            raise NoTargetError(f"no such key waits for {expression}; see director --list-nodes --state pending")
        _check(settings, rows, verb)
        done = connection.ask({"do": f"{verb}-node", "nodes": [[row["id"], row["key"]] for row in rows]})
    note(f"{verb}ed {_keys(done['count'])}")
    return EXIT_OK


def _check(settings: Settings, rows: Sequence[dict[str, Any]], verb: str) -> None:
    """Ask on a terminal.

    Raises:
        UsageError: several keys wait for one name, nobody can be asked and --key is missing, or the answer is no.
    """
    names = [row["id"] for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        keys = " or ".join(row["key"] for row in rows if row["id"] == twice)
        raise UsageError(f"several keys wait for {twice}; say which with --key: {keys}")
    if settings.key or settings.yes:
        return
    if not can_ask(settings):
        raise UsageError(f"without a terminal say which key to {verb}: --key {rows[0]['key']}")
    for row in rows:
        note(f"{row['id']} at {row['address']}, key {row['key']}")
    ask_yes(f"{verb} {'this key' if len(rows) == 1 else f'these {len(rows)} keys'}?")


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count} keys"
