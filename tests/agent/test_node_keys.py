"""Which key a client connects with, before, during and after a rotation, also when it is started in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ujson

from director.agent.node_keys import CURRENT, NEXT, KeyRotation, NodeKeys
from director.errors import StartError


def test_the_former_pair_is_kept_until_the_welcome_with_the_new_one(tmp_path: Path) -> None:
    pair = NodeKeys(str(tmp_path))
    former = pair.pair
    pair.welcomed()
    new = pair.make_next()
    assert pair.make_next() == new and pair.pair == former, "one new pair, which is not used yet"
    assert (tmp_path / NEXT).stat().st_mode & 0o777 == 0o600
    pair.welcomed()
    assert NodeKeys(str(tmp_path)).pair == new, "a start with both tries the new one"
    assert not pair.use_next(former.public) and pair.use_next(new.public) and not pair.use_next(new.public)
    assert (tmp_path / CURRENT).read_text().split()[0] == former.public
    pair.welcomed()
    kept = (tmp_path / CURRENT).read_text().split()
    assert kept == [new.public, new.secret, *new.opening] and new.opening[1] == former.opening[0]
    assert not (tmp_path / NEXT).exists()
    assert NodeKeys(str(tmp_path)).pair == pair.pair == new
    assert pair.make_next() not in (former, new), "the next rotation"


def test_a_file_without_a_pair_is_named(tmp_path: Path) -> None:
    NodeKeys(str(tmp_path))
    (tmp_path / NEXT).write_text("x y")
    with pytest.raises(StartError, match=r"curve\.key\.new contains no key pair"):
        NodeKeys(str(tmp_path))


def test_what_is_left_of_the_very_first_start_is_no_new_pair(tmp_path: Path) -> None:
    (tmp_path / NEXT).write_text("half of a pa")
    pair = NodeKeys(str(tmp_path)).pair
    assert not (tmp_path / NEXT).exists() and NodeKeys(str(tmp_path)).pair == pair


def test_a_client_asks_for_a_name_only_with_its_former_key() -> None:
    pair, done = NodeKeys(), []  # type: ignore[var-annotated]
    former, new = pair.pair, pair.make_next()

    def send(header: bytes) -> bool:
        done.append(tuple(ujson.loads(header)))
        return True

    def identify(fields: dict[str, Any]) -> None:
        done.append(("identify", fields["known"]))

    handlers = KeyRotation(pair, send, identify, lambda: done.append("again")).handlers
    handlers["rotate"]({})
    handlers["key_noted"]({"key": former.public})
    handlers["key_noted"]({"key": new.public})
    handlers["identify"]({"known": True})
    handlers["identify"]({"known": False})
    assert pair.pair == former
    handlers["identify"]({"known": False})
    told = ("new_key", {"key": new.public})
    assert done == [told, "again", ("identify", True), "again", ("identify", False)]


def test_a_file_of_before_secrets_gets_an_opening_key(tmp_path: Path) -> None:
    pair = NodeKeys(str(tmp_path)).pair
    (tmp_path / CURRENT).write_text(f"{pair.public}\n{pair.secret}\n")
    again = NodeKeys(str(tmp_path)).pair
    assert (again.public, again.secret) == (pair.public, pair.secret) and len(again.opening) == 1
    assert NodeKeys(str(tmp_path)).pair == again
