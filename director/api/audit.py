"""The command that checks the audit log, and what the log says of a call."""

from __future__ import annotations

import dataclasses
import pwd
from typing import Any

from director.api.requests import Caller, Nothing
from director.server.audit import shown
from director.server.ledger_client import LedgerClient


class Audit:
    """Answers the command about the audit log."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger

    def verify(self, request: Nothing, caller: Caller) -> bytes:
        """A JSON object: `{"lines", "first", "last", "files", "waiting", "faults": [{…}], "more"}`.

        A fault is `{"file", "line", "number", "fault"}`; `waiting` are lines that are not in the files yet.
        """
        return self._ledger.ask("check_audit")


def of_call(command: str, request: Any, caller: Caller) -> dict[str, Any]:
    """Who gives which command, with which arguments; nothing secret is among them."""
    if hasattr(request, "shown"):
        fields = request.shown()
    else:
        fields = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    login = caller.login_uid
    return {
        "command": command, "user": caller.user, "uid": caller.uid, "login_uid": login,
        "login_user": None if login is None else user_name(login), "pid": caller.pid, "arguments": shown(fields),
    }  # fmt: skip


def user_name(uid: int) -> str:
    """The name of a user, the uid as text when there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
