"""The blob store: a kept blob is complete, an unfinished one is never visible."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from director.errors import StoreError
from director.transfer import blobs as module
from director.transfer.blobs import BlobStore, DamagedError, SourceChangedError, is_digest


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "blobs"))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files(store: BlobStore) -> list[str]:
    return sorted(
        os.path.join(top, name)[len(store.folder) + 1 :] for top, _, names in os.walk(store.folder) for name in names
    )


def test_put_and_flush(store: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(2_500_000)
    (tmp_path / "f").write_bytes(data)
    with open(tmp_path / "f", "rb") as file:
        file.seek(100)
        assert store.put_fd(file.fileno()) == (sha(data), len(data))
    digest = sha(data)
    assert store.has(digest)
    assert Path(store.path(digest)).read_bytes() == data
    assert not BlobStore(store.folder).has(digest)
    store.flush()
    place = Path(store.path(digest))
    assert place == Path(store.folder) / digest[:2] / digest
    assert place.read_bytes() == data
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert files(store) == [f"{digest[:2]}/{digest}"]
    store.flush()


def test_the_same_is_kept_once(store: BlobStore) -> None:
    for _ in range(2):
        assert store.put_bytes(b"a") == (sha(b"a"), 1)
        assert len(files(store)) == 1
        store.flush()
    assert store.put_bytes(b"") == (sha(b""), 0)
    store.flush()
    assert len(files(store)) == 2


def test_many_at_once(store: BlobStore) -> None:
    digests = [store.put_bytes(b"%d" % number)[0] for number in range(100)]
    store.flush()
    assert all(BlobStore(store.folder).has(digest) for digest in digests)


def test_two_writers_of_one_content(store: BlobStore) -> None:
    other = BlobStore(store.folder)
    store.put_bytes(b"x")
    other.put_bytes(b"x")
    store.flush()
    other.flush()
    assert files(store) == [f"{sha(b'x')[:2]}/{sha(b'x')}"]


def test_a_file_that_changes_is_refused(store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"1")
    pieces = module.pieces_of

    def growing(fd: int, *part: int) -> Iterator[bytes]:
        yield from pieces(fd, *part)
        with path.open("ab") as file:
            file.write(b"2")

    monkeypatch.setattr(module, "pieces_of", growing)
    with path.open("rb") as file, pytest.raises(SourceChangedError, match="while it was read"):
        store.put_fd(file.fileno())


def test_download(store: BlobStore) -> None:
    temp = store.open_temp()
    os.pwrite(temp.fd, b"world", 5)
    os.pwrite(temp.fd, b"hello", 0)
    path = store.commit(temp, sha(b"helloworld"), sha(b"helloworld"))
    assert path == store.path(sha(b"helloworld"))
    assert Path(path).read_bytes() == b"helloworld"
    assert temp.fd == -1
    store.drop(temp)
    assert store.has(sha(b"helloworld"))


def test_a_damaged_download_is_gone(store: BlobStore) -> None:
    temp = store.open_temp()
    os.write(temp.fd, b"other")
    with pytest.raises(DamagedError):
        store.commit(temp, sha(b"wanted"), sha(b"other"))
    assert files(store) == []
    assert not store.has(sha(b"wanted"))


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "a/" * 32])
def test_what_is_no_digest_never_becomes_a_path(bad: str, store: BlobStore) -> None:
    assert not is_digest(bad)
    for use in (store.path, store.has, lambda digest: store.discard([digest])):
        with pytest.raises(StoreError, match="is no sha256"):
            use(bad)


def test_discard_and_sweep(store: BlobStore) -> None:
    kept, old, fresh = (store.put_bytes(name)[0] for name in (b"kept", b"old", b"fresh"))
    store.flush()
    temp = store.open_temp()
    for path in (store.path(kept), store.path(old), temp.path):
        os.utime(path, (1, 1))
    assert store.sweep([kept]) == 2
    assert [store.has(digest) for digest in (kept, old, fresh)] == [True, False, True]
    os.utime(store.path(fresh), (1, 1))
    assert store.has(fresh)  # whoever asks means to use it
    assert store.sweep([kept]) == 0
    store.discard([fresh, old])
    assert not store.has(fresh)
    store.drop(temp)


def test_a_full_disk_says_so(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_FREE", 1 << 62)
    with pytest.raises(StoreError, match="no room"):
        store.put_bytes(b"x")
    assert files(store) == []


def test_breathes_between_pieces(tmp_path: Path) -> None:
    breaths: list[int] = []
    store = BlobStore(str(tmp_path / "b"), lambda: breaths.append(1))
    path = tmp_path / "f"
    path.write_bytes(bytes(3 * module.PIECE))
    with path.open("rb") as file:
        store.put_fd(file.fileno())
    assert len(breaths) == 3


def test_a_cache_keeps_what_was_used_last(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCARCE", 0.0)
    names = [store.put_bytes(bytes([number]) * 1000)[0] for number in range(4)]
    store.flush()
    for number, name in enumerate(names[:3]):
        os.utime(store.path(name), (1 + number, 1 + number))
    assert store.trim(2500) == 2
    assert [os.path.exists(store.path(name)) for name in names] == [False, False, True, True]
    assert store.trim(0) == 1, "one that is in use stays, however little room there is"
    monkeypatch.setattr(module, "SCARCE", 1.1)
    os.utime(store.path(names[3]), (1, 1))
    assert store.trim(1 << 30) == 1, "with hardly any room on the disk the cache goes"
