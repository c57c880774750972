"""Notices nodes that request contents and do not read them: the answers would fill the server's memory."""

from __future__ import annotations

import logging

from director.protocol.connections import ACKNOWLEDGED, bytes_of
from director.runtime.logs import Seldom
from director.server.roster import NodeRecord

UNREAD = 64 * 1024 * 1024  # bytes of contents under way to one node; a client has less than half of that requested

seldom = Seldom(logging.getLogger(__name__))


def is_behind(record: NodeRecord) -> bool:
    """Whether a node has not read what it requested before; then its requests are to be dropped."""
    if record.pieces <= UNREAD or record.pieces - bytes_of(record.connection, ACKNOWLEDGED) <= UNREAD:
        return False
    seldom.warning("%s requests contents and does not read them: its requests are dropped", record.name)
    return True
