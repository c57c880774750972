"""The operator's socket: accepts callers, limits them and tells who they are; decodes commands, encodes answers."""

from __future__ import annotations

import contextlib
import grp
import logging
import struct
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import gevent
import ujson
from gevent import socket
from gevent.lock import BoundedSemaphore

from director.api.audit import user_name
from director.api.callers_room import CallersRoom
from director.api.commands import Commands
from director.api.requests import Caller
from director.errors import EXIT_FAILED, DirectorError, ProtocolError, UsageError
from director.protocol import unix_socket
from director.protocol.framing import READ, Channel, Cut, Frame, close_all, encode
from director.runtime.accept_loop import accept_all
from director.runtime.greenlets import spawn
from director.runtime.logs import Seldom

log = logging.getLogger(__name__)
seldom = Seldom(log)

CONNECTIONS = 1000
PATIENCE = 120.0  # seconds a caller may be silent between requests, or take to read an answer
SOURCES_PATIENCE = 60.0  # seconds a caller may take to send the next part of its sources
PART = 16 * 1024 * 1024  # bytes of an answer in one frame
BODY_LIMIT = 2 * 1024 * 1024  # bytes of small files in one frame
FIRST_SIGN = 0.25  # seconds; the first sign of life is early, for calls that are about to end
SIGN_EVERY = 5.0  # seconds
NO_LOGIN = 2**32 - 1  # the kernel's word for none
SO_PEERGROUPS = 59  # Linux; Python has no name for it
SIGN = encode({"alive": True})


class OperatorSocket:
    """Serves commands on a UNIX socket, see `docs/protocol.md`, section "Operator's socket".

    Args:
        paths: the socket is at the first of them that can be used, with mode 0660.

    Attributes:
        path: where it is.

    Raises:
        StartError: none can be used.
    """

    def __init__(self, commands: Commands, paths: Sequence[str], group: str | None = None) -> None:
        self._commands = commands
        self._open = 0
        self._room = CallersRoom()
        self._listener = unix_socket.listen(paths, group)
        self.path = self._listener.path
        self._accepting = spawn(
            "operator's socket", accept_all, self._listener.sock, 2 * CONNECTIONS, self._serve, self._refuse, vital=True
        )

    def stop(self) -> None:
        """Close the socket and remove its file."""
        self._accepting.kill()
        self._listener.close()

    @staticmethod
    def _refuse(connection: socket.socket, why: str) -> None:
        Channel(connection).send({"error": why, "exit": EXIT_FAILED})

    def _serve(self, connection: socket.socket, _address: object) -> None:
        channel = CallersChannel(connection, self._room)
        self._open += 1
        try:
            caller = caller_of(connection, channel)
            channel.uid = caller.uid
            if self._open > CONNECTIONS:
                channel.send({"error": f"{CONNECTIONS} callers are connected; try again", "exit": 1})
                return
            while (header := _request(channel)) is not None:
                with channel.signs_of_life():
                    answer(self._commands, header, channel, caller)
                channel.release()
        except (OSError, ProtocolError) as error:
            log.debug("a caller left: %s", error)
        finally:
            self._open -= 1
            channel.release()
            channel.close()


def answer(commands: Commands, header: dict[str, Any], channel: Channel, caller: Caller) -> None:
    """Run the command of a request and send its answer, or its error.

    Raises:
        OSError, ProtocolError: the caller does not read, or breaks the protocol.
    """
    name = str(header.pop("do", None))
    try:
        found = commands.call(name, header, caller)
        if isinstance(found, Iterator):
            for item in found:
                _send(channel, item, more=True)
            found = b""
        _send(channel, found, more=False)
    except (OSError, ProtocolError):
        raise
    except DirectorError as error:
        several = {"errors": list(error.lines)} if error.lines else {}
        channel.send({"error": str(error), "exit": error.exit_code, **several})
    except Exception as error:
        seldom.exception(f"the command {name[:40]!a} failed")
        channel.send({"error": f"the server could not carry this out: {error!r}", "exit": 1})


class CallersChannel(Channel):
    """A caller's connection; frames of several greenlets are sent one after another.

    Args:
        room: which the frames of all callers share; one that finds none is read to its end and refused.

    Attributes:
        uid: of the caller.
        held: bytes of the room that this connection has.
    """

    def __init__(self, sock: Any, room: CallersRoom) -> None:
        super().__init__(sock, body_limit=BODY_LIMIT)
        self.uid, self.held = -1, 0
        self._room = room
        self._sending = BoundedSemaphore(1)
        self._at_work = False

    def send(self, *frame: Any) -> None:
        """See `Channel.send`. Raises ProtocolError: the frame is too large. OSError: the peer is gone."""
        with self._sending:
            super().send(*frame)

    def release(self, keep: int = 0) -> None:
        """Give the room back, all but `keep` bytes."""
        self._room.give_back(self.uid, self.held - keep)
        self.held = keep

    def _hold(self, more: int, left: int) -> None:
        if self._room.take(self.uid, more):
            self.held += more
            return
        why = "requests of other callers take all the memory that there is for requests; try again"
        while left > 0 and (data := self.sock.recv(min(left, READ))):  # else the caller could not read the reason
            left -= len(data)
        self.send({"error": why, "exit": EXIT_FAILED})
        raise ProtocolError(why)

    @contextlib.contextmanager
    def signs_of_life(self) -> Iterator[None]:
        """A context in which the caller gets `{"alive": true}` after 0.25 s, then every 5 s."""
        self._at_work = True
        signs = spawn("signs of life", self._sign, vital=False, after=FIRST_SIGN)
        try:
            yield
        finally:
            self._at_work = False
            signs.kill(block=False)

    def _sign(self) -> None:
        while True:
            with self._sending:
                if not self._at_work:  # the answer was sent while this sign waited for its turn
                    return
                try:
                    self.send_encoded(SIGN)
                except OSError:
                    return  # the caller has left; the command notices that itself
            gevent.sleep(SIGN_EVERY)


class CallerSources:
    """The caller's files: the caller opens them with its rights and sends descriptors."""

    def __init__(self, channel: CallersChannel) -> None:
        self._channel = channel

    def fetch(self, want: Mapping[str, Any]) -> Generator[tuple[list[Any], bytes, list[int]], None, None]:
        """See `Sources.fetch`. Raises UsageError: a source cannot be read. DirectorError: the caller left."""
        self._channel.send({"want": want})
        held, is_awaited = self._channel.held, True
        try:
            while True:
                is_awaited = False
                header, body, fds = self._part()
                if not header.get("entries"):
                    close_all(fds)
                    if "error" in header:
                        raise UsageError(str(header["error"]))
                    return
                self._channel.send({"next": True})  # the caller reads on while the planner digests this part
                is_awaited = True
                yield header["entries"], body, fds
                self._channel.release(held)
        finally:
            if is_awaited:  # nobody wants the rest
                with contextlib.suppress(OSError, DirectorError):
                    close_all(self._part()[2])

    def _part(self) -> Frame:
        """The next part of the sources. Raises as `fetch`."""
        with gevent.Timeout(SOURCES_PATIENCE, UsageError("the sources did not come within a minute")):
            frame = self._channel.receive()
        if frame is None:
            raise DirectorError("the submitter left")
        return frame

    def seal(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Sources.seal`. Raises UsageError: no answer. DirectorError: the caller left."""
        self._channel.send({"seal": question})
        held = self._channel.held
        header, _, fds = self._part()
        close_all(fds)
        self._channel.release(held)
        if "error" in header:
            raise UsageError(str(header["error"]))
        return header


def caller_of(connection: socket.socket, channel: CallersChannel) -> Caller:
    """The caller at the other end, as the kernel reports its process. Raises OSError: the connection is broken."""
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = frozenset(map(_group_name, {gid, *_groups(connection)}))
    return Caller(user_name(uid), uid, gid, pid, CallerSources(channel), groups, login_uid=_login_uid(pid))


def _login_uid(pid: int) -> int | None:
    """The user whose login session a process belongs to; None for a service, or where the kernel does not say."""
    try:
        with open(f"/proc/{pid}/loginuid", encoding="ascii") as file:
            uid = int(file.read())
    except (OSError, ValueError):  # the process has ended, or this kernel has no audit
        return None
    return uid if uid != NO_LOGIN else None


def _groups(connection: socket.socket) -> array[int]:
    """The peer's supplementary groups; none when it has more than 256, which Python cannot read."""
    found = array("i")
    try:
        found.frombytes(connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024))
    except OSError as error:
        seldom.warning("the groups of a caller cannot be read, so only its first one counts: %s", error.strerror)
    return found


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _request(channel: Channel) -> dict[str, Any] | None:
    """The header of the next request; None when the connection has ended, or after two minutes without one."""
    frame = None
    with gevent.Timeout(PATIENCE, False):
        frame = channel.receive()
    if frame is None:
        return None
    header, _, fds = frame
    close_all(fds)
    header.pop("fds", None)
    return header


def _send(channel: Channel, item: Any, more: bool) -> None:
    """Send one item of an answer. Raises TimeoutError, which ends the connection: the caller does not read."""
    body = item if isinstance(item, bytes) else ujson.dumps(item).encode()
    for start in range(0, len(body) or 1, PART):
        cut = isinstance(item, Cut) or start + PART < len(body)
        with gevent.Timeout(PATIENCE, TimeoutError("the caller does not read")):
            channel.send({"ok": True, "more": more or start + PART < len(body), "cut": cut}, body[start : start + PART])
