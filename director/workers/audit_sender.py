"""Sends the lines of the audit log to a syslog receiver: RFC 5424 over TCP or TLS; a thread of the ledger process.

The files of the log are the buffer: what is in them is sent, however long the receiver was away. Syslog has no
acknowledgement, so the lines of the last seconds before a connection ended are sent again over the next one; a
receiver knows them by their number.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import struct
import termios
import threading
import time
from collections import deque
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import ujson

from director.errors import StoreError, UsageError
from director.runtime.durable import write_private
from director.runtime.logs import Seldom
from director.workers.audit_files import Cursor
from director.workers.audit_keeper import AuditKeeper

log = logging.getLogger(__name__)
seldom = Seldom(log, 60.0)

PORTS = {"tcp": 601, "tls": 6514}
PATIENCE = 10.0  # seconds to connect, and for the receiver to take some bytes
LOOK = 0.5  # seconds between two looks whether the receiver has ended the connection
SURE = 30.0  # seconds after which a line that the receiver's machine has acknowledged is not sent again
BATCH = 64 * 1024  # bytes
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds before it connects again
POSITION = "sent"  # the file with the number of the last line that need not be sent again
SAVE = 5.0  # seconds between two writes of that file
USUAL = ("command", "enrolled", "labelled", "key-replaced", "server-started", "server-stopped", "files-removed")
INFO, WARNING = 13 * 8 + 6, 13 * 8 + 4  # facility "log audit"


class Address(NamedTuple):
    """Where lines are sent; `scheme` is a key of `PORTS`."""

    scheme: str
    host: str
    port: int


def parse_address(text: str) -> Address:
    """The address of `tcp://HOST[:PORT]` or `tls://HOST[:PORT]`. Raises UsageError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in PORTS or parts.path or parts.query or parts.username is not None:
        raise UsageError(f"--audit-to {text}: expected tcp://HOST[:PORT] or tls://HOST[:PORT]")
    return Address(parts.scheme, host, port or PORTS[parts.scheme])


def message(number: int, line: bytes, host: str) -> bytes:
    """A line as a syslog message with its length in front (RFC 5424, 6587)."""
    try:
        entry = ujson.loads(line)
    except ValueError:  # somebody wrote into the file
        entry = {}
    event, at = (_printable(str(entry.get(name, ""))) for name in ("event", "at"))
    level = INFO if event in USUAL else WARNING
    text = f"<{level}>1 {at[:32]} {host} director - {event[:32]} - ".encode() + line
    return b"%d %s" % (len(text), text)


class AuditSender:
    """Sends what comes into the files; `run` is its thread.

    Args:
        ca: a file with the certificates that a receiver's must be signed by; None for those of the system.
    """

    def __init__(self, keeper: AuditKeeper, address: Address, ca: str | None) -> None:
        self._keeper, self._address, self._ca = keeper, address, ca
        self._path = os.path.join(keeper.files.folder, POSITION)
        self._host = _printable(socket.gethostname())
        self._sent: deque[tuple[float, int]] = deque()  # acknowledged lines: monotonic time and number
        self._position = self._saved = self._told = self._read_position()
        self._saved_at = 0.0

    def run(self) -> None:
        """Send for ever; connect again with growing pauses."""
        pause = FIRST_PAUSE
        while True:
            try:
                with self._connect() as sock:
                    log.info("the audit log is sent to %s", self._name())
                    pause = FIRST_PAUSE
                    self._serve(sock)
            except (OSError, StoreError, ValueError) as error:
                seldom.warning("the audit log cannot be sent to %s: %s; lines wait in its files", self._name(), error)
            self._sent.clear()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _name(self) -> str:
        return f"{self._address.scheme}://{self._address.host}:{self._address.port}"

    def _connect(self) -> socket.socket:
        """A connection. Raises OSError; a certificate that is not the receiver's is one."""
        sock = socket.create_connection(self._address[1:], timeout=PATIENCE)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SURE * 1000))
            if self._address.scheme == "tls":
                import ssl

                sock = ssl.create_default_context(cafile=self._ca).wrap_socket(sock, server_hostname=self._address.host)
        except BaseException:
            sock.close()
            raise
        return sock

    def _serve(self, sock: socket.socket) -> None:
        """Send what comes until the connection ends. Raises OSError, StoreError."""
        self._keeper.begun.wait()
        self._position = last = min(self._position, self._keeper.files.head.number)
        cursor = Cursor(self._keeper.files, last)
        try:
            while True:
                rows = cursor.read(BATCH)
                self._note_gap(max(last, self._told) + 1, rows)
                if rows:
                    last = rows[-1][0]
                    self._told = max(self._told, last)
                    sock.sendall(b"".join(message(number, line, self._host) for number, line in rows))
                else:
                    self._keeper.wait_beyond(self._keeper.files.head.number, LOOK)
                _require_open(sock)
                self._settle(sock, last)
        finally:
            cursor.close()

    def _settle(self, sock: socket.socket, last: int) -> None:
        """Move the position over lines that were acknowledged long enough ago."""
        now = time.monotonic()
        waiting = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
        if not waiting and (not self._sent or self._sent[-1][1] != last):
            self._sent.append((now, last))
        while self._sent and now - self._sent[0][0] > SURE:
            self._position = self._sent.popleft()[1]
        if self._position != self._saved and now - self._saved_at > SAVE:
            write_private(self._path, b"%d\n" % self._position)
            self._saved, self._saved_at = self._position, now

    def _note_gap(self, first: int, rows: list[tuple[int, bytes]]) -> None:
        """Say in the log, once, which lines cannot be sent as they are not in the files. Raises StoreError."""
        if rows and rows[0][0] > first:
            log.error("lines %d to %d of the audit log are not sent, as its files lack them", first, rows[0][0] - 1)
            self._keeper.note("lines-not-sent", first=first, last=rows[0][0] - 1)

    def _read_position(self) -> int:
        """The number of the last line that need not be sent; at first all that are in the files are."""
        try:
            with open(self._path, "rb") as file:
                return int(file.read(20))
        except (OSError, ValueError):
            return self._keeper.files.first() - 1


def checked(settings: Any) -> dict[str, Any]:
    """What the ledger process needs to keep and send the log, of the settings of a server. Raises UsageError."""
    if settings.audit_to:
        parse_address(settings.audit_to)
    if settings.audit_ca:
        try:
            with open(settings.audit_ca, "rb"):
                pass
        except OSError as error:
            raise UsageError(f"--audit-ca {settings.audit_ca}: {error.strerror}") from error
    names = {"size": "audit_file_size", "count": "audit_files", "to": "audit_to", "ca": "audit_ca"}
    return {name: getattr(settings, attribute) for name, attribute in names.items()}


def _require_open(sock: Any) -> None:
    """Raise OSError when the receiver has ended the connection; what it says is ignored."""
    sock.settimeout(0)
    try:
        if not sock.recv(4096):
            raise ConnectionResetError("the receiver ended the connection")
    except BlockingIOError:
        pass
    except OSError as error:
        if type(error).__name__ not in ("SSLWantReadError", "SSLWantWriteError"):
            raise
    finally:
        sock.settimeout(PATIENCE)


def _printable(name: str) -> str:
    """A host name as syslog takes it."""
    return "".join(letter for letter in name if "!" <= letter <= "~")[:255] or "-"


def start(keeper: AuditKeeper, address: str, ca: str | None) -> None:
    """Send in a thread of its own."""
    sender = AuditSender(keeper, parse_address(address), ca)
    threading.Thread(target=sender.run, name="audit sender", daemon=True).start()
