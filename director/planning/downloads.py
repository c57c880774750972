"""Downloads the URLs of ADD into the blob store."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from typing import IO

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


def download(url: str, checksum: str, blobs: BlobStore) -> tuple[str, int]:
    """Download `url` into the blob store; returns its sha256 and its size in bytes.

    Args:
        checksum: the sha256 it must have, "" for any; a blob that the store has already is not downloaded.

    Raises:
        UsageError: no answer, another status than 2xx, another checksum, or more than `LIMIT` bytes.
    """
    if checksum and blobs.has(checksum):
        with open(blobs.path(checksum), "rb") as file:
            return checksum, file.seek(0, 2)
    temp = blobs.open_temp()
    try:
        with open(temp.fd, "wb", closefd=False) as file:
            digest, size = _transfer(url, file)
        if checksum and digest != checksum:
            raise UsageError(f"{url} holds sha256:{digest}; expected sha256:{checksum}")
        blobs.commit(temp, digest)
    except urllib.error.HTTPError as error:
        raise UsageError(f"{url} answered {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)  # of a URLError
        raise UsageError(f"{url} cannot be fetched: {reason or type(error).__name__}") from None
    finally:
        blobs.drop(temp)
    return digest, size


def _transfer(url: str, file: IO[bytes]) -> tuple[str, int]:
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": "director"})
    sha, size = hashlib.sha256(), 0
    with opener.open(request, timeout=TIMEOUT) as answer:
        while piece := answer.read(PIECE):
            sha.update(piece)
            size += file.write(piece)
            if size > LIMIT:
                raise UsageError(f"{url} is larger than {LIMIT >> 30} GiB")
        expected = answer.headers.get("Content-Length")
        if expected is not None and expected.isdecimal() and int(expected) != size:
            raise UsageError(f"{url} broke off after {size} of {expected} bytes")
    return sha.hexdigest(), size
