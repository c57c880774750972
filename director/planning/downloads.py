"""Downloads the URLs of ADD into the blob store."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from typing import Any

from director.errors import UsageError
from director.transfer.blobs import PIECE, BlobStore

TIMEOUT = 30.0  # seconds without a byte
LIMIT = 4 << 30  # bytes of one download
# without file, ftp and data: a redirect must not read files of the server
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)
_ANYWHERE = (urllib.request.HTTPHandler, urllib.request.HTTPSHandler)


class _Outward(http.client.HTTPConnection):
    """A connection to another machine."""

    def connect(self) -> None:
        """Raises OSError: it is to this one."""
        super().connect()
        _require_other(self.sock)


class _OutwardTLS(http.client.HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        """Raises OSError: it is to this one."""
        super().connect()
        _require_other(self.sock)


class _OutwardHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(http.client.HTTPConnection if req.has_proxy() else _Outward, req)


class _OutwardTLSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        through_proxy = getattr(req, "_tunnel_host", None)
        return self.do_open(http.client.HTTPSConnection if through_proxy else _OutwardTLS, req)


_OUTWARD = (_OutwardHandler, _OutwardTLSHandler)


def _require_other(sock: Any) -> None:
    """Raise OSError when the peer is this machine, or one that knows it by its link, as the metadata of a cloud do."""
    peer, own = (ip_address(name[0].partition("%")[0]) for name in (sock.getpeername(), sock.getsockname()))
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    if peer == own or peer.is_loopback or peer.is_link_local:
        raise OSError(f"{peer} is for the server alone, and your role is not for all nodes")


def download(url: str, checksum: str, blobs: BlobStore, bounded: bool = False) -> tuple[str, int]:
    """Download `url` into the blob store; returns its sha256 and its size in bytes.

    Args:
        checksum: the sha256 it must have, "" for any; a blob that the store has already is not downloaded.
        bounded: the submitter has some nodes only: it gets no content for a checksum, as that may be of another job,
            and none of a service that only this machine reaches.

    Raises:
        UsageError: no answer, another status than 2xx, another checksum, or more than `LIMIT` bytes.
        StoreError: the disk is full.
    """
    if checksum and not bounded and blobs.has(checksum):
        return checksum, os.path.getsize(blobs.path(checksum))
    return blobs.put(_pieces(url, checksum, bounded))


def _pieces(url: str, checksum: str, bounded: bool) -> Iterator[bytes]:
    opener = urllib.request.OpenerDirector()
    for handler in (*_HANDLERS, *(_OUTWARD if bounded else _ANYWHERE)):
        opener.add_handler(handler())
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "director"})
        sha, size = hashlib.sha256(), 0
        with opener.open(request, timeout=TIMEOUT) as answer:
            while piece := answer.read(PIECE):
                sha.update(piece)
                size += len(piece)
                if size > LIMIT:
                    raise UsageError(f"{url} is larger than {LIMIT >> 30} GiB")
                yield piece
            expected = answer.headers.get("Content-Length")
        if expected is not None and expected.isdecimal() and int(expected) != size:
            raise UsageError(f"{url} broke off after {size} of {expected} bytes")
        if checksum and sha.hexdigest() != checksum:
            raise UsageError(f"{url} holds sha256:{sha.hexdigest()}; expected sha256:{checksum}")
    except urllib.error.HTTPError as error:
        raise UsageError(f"{url} answered {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)  # of a URLError
        raise UsageError(f"{url} cannot be fetched: {reason or type(error).__name__}") from None
