"""The audit log at a syslog receiver, over real sockets: all lines come, also after the receiver was away."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness import wait_until
from syslog_receiver import Receiver

from director.errors import UsageError
from director.stores import open_store
from director.stores.contract import Store
from director.workers import audit_sender
from director.workers.audit_files import LINE_LIMIT
from director.workers.audit_keeper import AuditKeeper
from director.workers.audit_sender import Address, message, parse_address


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store("sqlite", str(tmp_path))
    yield opened
    opened.close()


class Log:
    """An audit log that is sent to a port."""

    def __init__(self, store: Store, folder: Path, address: str, ca: str | None = None, **sizes: int) -> None:
        self._store = store
        self.keeper = AuditKeeper(store, str(folder), **{"size": 5000, "count": 50, **sizes})
        assert self.keeper.step()
        audit_sender.start(self.keeper, address, ca)

    def add(self, count: int, more: str = "") -> None:
        for number in range(count):
            entry = {"at": "2026-12-01T10:00:00.000Z", "event": "x y\x00", "i": number, "more": more}
            self._store.apply([("audit", {"entry": entry})])
        assert self.keeper.step()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sender, "LONGEST_PAUSE", 0.5)


def has(receiver: Receiver, numbers: list[int]) -> bool:
    """Whether all these lines came."""
    return sorted(set(receiver.numbers)) == numbers


def test_lines_are_syslog_messages(store: Store, tmp_path: Path) -> None:
    receiver = Receiver()
    log = Log(store, tmp_path, f"tcp://127.0.0.1:{receiver.port}")
    log.add(3)
    wait_until(lambda: receiver.numbers == [1, 2, 3], "all came")
    head = receiver.lines[0].partition(" - {")[0]
    host = socket.gethostname()
    assert head == f"<108>1 2026-12-01T10:00:00.000Z {host} director - xy" and receiver.rows[0]["i"] == 0
    receiver.end()


def test_a_receiver_that_was_away_gets_all(store: Store, tmp_path: Path) -> None:
    receiver = Receiver()
    log = Log(store, tmp_path, f"tcp://127.0.0.1:{receiver.port}")
    log.add(10)
    wait_until(lambda: len(receiver.lines) == 10, "the first came")
    for count in range(2):
        receiver.end()
        log.add(100)
        receiver = Receiver(receiver.port)
        log.add(10)
        expected = list(range(1, 10 + 110 * (count + 1) + 1))
        wait_until(partial(has, receiver, expected), "all came")
        assert receiver.numbers == expected, "in their order"
    receiver.end()


def test_sent_lines_are_not_sent_again_after_a_while(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sender, "SURE", 0.1)
    monkeypatch.setattr(audit_sender, "SAVE", 0.0)
    receiver = Receiver()
    log = Log(store, tmp_path, f"tcp://127.0.0.1:{receiver.port}")
    log.add(10)
    position = tmp_path / "audit" / "sent"
    wait_until(lambda: position.exists() and position.read_text() == "10\n", "they need not be sent again")
    receiver.end()
    receiver = Receiver(receiver.port)
    log.add(2)
    wait_until(lambda: receiver.numbers == [11, 12], "only new ones came")
    receiver.end()


def test_lines_that_went_with_old_files_are_named(store: Store, tmp_path: Path) -> None:
    receiver = Receiver()
    log = Log(store, tmp_path, f"tcp://127.0.0.1:{receiver.port}", size=2000, count=2)
    log.add(5)
    wait_until(lambda: len(receiver.lines) == 5, "the first came")
    receiver.end()
    for _ in range(100):
        log.add(1)
    receiver = Receiver(receiver.port)

    def said() -> list[dict[str, Any]]:
        assert log.keeper.step()
        return [row for row in receiver.rows if row["event"] == "lines-not-sent"]

    (row,) = wait_until(said, "the gap is named")
    assert row["first"] == 6 and row["last"] + 1 == receiver.numbers[0] > 10
    receiver.end()


def test_lines_behind_files_that_were_taken_away_are_sent(store: Store, tmp_path: Path) -> None:
    receiver = Receiver()
    log = Log(store, tmp_path, f"tcp://127.0.0.1:{receiver.port}")
    log.add(3)
    wait_until(lambda: receiver.numbers == [1, 2, 3], "the first came")
    shutil.rmtree(tmp_path / "audit")
    log.add(2)
    wait_until(lambda: receiver.numbers == [1, 2, 3, 4, 5], "the others came")
    receiver.end()


def test_a_line_that_is_too_long_does_not_hold_back_the_others(store: Store, tmp_path: Path) -> None:
    receiver = Receiver()
    log = Log(store, tmp_path, f"tcp://127.0.0.1:{receiver.port}")
    log.add(1, "x" * 2 * LINE_LIMIT)
    log.add(2)
    wait_until(lambda: receiver.numbers[:2] == [2, 3], "the others came")
    receiver.end()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_lines_go_over_tls_to_the_right_receiver_only(
    store: Store, tmp_path: Path, certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    receiver = Receiver(tls=tls)
    log = Log(store, tmp_path, f"tls://localhost:{receiver.port}", ca=f"{certificate}.crt")
    log.add(5)
    wait_until(lambda: receiver.numbers == [1, 2, 3, 4, 5], "all came")
    receiver.end()
    log.add(50)
    receiver = Receiver(receiver.port, tls)
    wait_until(lambda: receiver.numbers == list(range(1, 56)), "all came")
    receiver.end()

    other = Receiver(tls=tls)
    audit_sender.seldom = type(audit_sender.seldom)(audit_sender.log)
    audit_sender.start(log.keeper, f"tls://127.0.0.1:{other.port}", f"{certificate}.crt")
    audit_sender.start(log.keeper, f"tls://localhost:{other.port}", None)
    wait_until(lambda: "cannot be sent" in caplog.text and "certificate" in caplog.text, "it is said")
    assert other.lines == []
    other.end()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tcp://log.example", Address("tcp", "log.example", 601)),
        ("tls://log.example", Address("tls", "log.example", 6514)),
        ("tcp://[::1]:514", Address("tcp", "::1", 514)),
        ("udp://log.example", None),
        ("log.example:514", None),
        ("tcp://", None),
        ("tcp://host:99999", None),
        ("tls://user@host", None),
        ("tcp://host/path", None),
    ],
)
def test_addresses(text: str, found: Address | None) -> None:
    if found is not None:
        assert parse_address(text) == found
        return
    with pytest.raises(UsageError, match=r"^--audit-to .*: expected tcp://HOST\[:PORT\]"):
        parse_address(text)


def test_what_is_no_line_is_sent_as_it_is() -> None:
    assert message(1, b"xx", "h") == b"%d <108>1 - h director - - - xx" % 28
