"""Downloads the URLs of ADD into the blob store."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

from director.errors import UsageError
from director.transfer.blobs import PIECE, BlobStore

TIMEOUT = 30.0  # seconds without a byte
LIMIT = 4 << 30  # bytes of one download
# without file, ftp and data: a redirect must not read files of the server
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)


def download(url: str, checksum: str, blobs: BlobStore, again: bool = False) -> tuple[str, int]:
    """Download `url` into the blob store; returns its sha256 and its size in bytes.

    Args:
        checksum: the sha256 it must have, "" for any; a blob that the store has already is not downloaded.
        again: download it all the same, as it may be of a job that the submitter may not look at.

    Raises:
        UsageError: no answer, another status than 2xx, another checksum, or more than `LIMIT` bytes.
        StoreError: the disk is full.
    """
    if checksum and not again and blobs.has(checksum):
        return checksum, os.path.getsize(blobs.path(checksum))
    return blobs.put(_pieces(url, checksum))


def _pieces(url: str, checksum: str) -> Iterator[bytes]:
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
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
