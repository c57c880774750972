"""Messages: proper ones pass unchanged, all others are refused before a handler gets them."""

from __future__ import annotations

from typing import Any

import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as some

from director.errors import ProtocolError
from director.protocol import messages

SAMPLES: dict[type, Any] = {bool: True, int: 7, str: "text", list: [["job", 3]], dict: {"a": 1}, float: 1.5}


def sample(kind: str) -> dict[str, Any]:
    """Proper fields of a message."""
    types = messages.KINDS[kind].fields.items()
    return {name: SAMPLES[one[0] if isinstance(one, tuple) else one] for name, one in types}


@pytest.mark.parametrize("kind", messages.KINDS)
def test_a_proper_message_passes(kind: str) -> None:
    spec = messages.KINDS[kind]
    frames = [messages.encode(kind, **sample(kind)), *[b"x"] * spec.frames]
    assert messages.decode(frames, spec.sender) == (kind, sample(kind), frames[1:])


@pytest.mark.parametrize("kind", [kind for kind, spec in messages.KINDS.items() if spec.sender != "both"])
def test_the_other_side_may_not_send_it(kind: str) -> None:
    other = {"client": "server", "server": "client"}[messages.KINDS[kind].sender]
    with pytest.raises(ProtocolError, match="may not send"):
        messages.decode([messages.encode(kind, **sample(kind))], other)


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, spec in messages.KINDS.items() for name in spec.fields])
def test_a_missing_field_or_one_of_another_type_is_refused(kind: str, name: str) -> None:
    fields = sample(kind)
    for wrong in ({**fields, name: None}, {key: value for key, value in fields.items() if key != name}):
        with pytest.raises(ProtocolError, match=name):
            messages.decode([messages.encode(kind, **wrong)], messages.KINDS[kind].sender)


@pytest.mark.parametrize("kind", messages.KINDS)
def test_bounds_hold(kind: str) -> None:
    spec = messages.KINDS[kind]
    long = messages.encode(kind, **sample(kind), more="x" * min(spec.header, messages.HEADER_LIMIT))
    many = [messages.encode(kind, **sample(kind)), *[b""] * (spec.frames + 1)]
    for frames in ([long], many):
        with pytest.raises(ProtocolError):
            messages.decode(frames, spec.sender)


def test_a_payload_has_a_bound() -> None:
    frames = [messages.encode("contents", **sample("contents")), bytes(messages.OFFER_LIMIT + 1)]
    with pytest.raises(ProtocolError, match="carries more"):
        messages.decode(frames, "server")


WHOLE = [(kind, name) for kind, spec in messages.KINDS.items() for name, types in spec.fields.items() if types is int]


@pytest.mark.parametrize("kind, name", WHOLE)
def test_a_whole_number_that_no_store_keeps_is_refused(kind: str, name: str) -> None:
    sender, most = messages.KINDS[kind].sender, messages.WHOLE_LIMIT - 1
    messages.decode([messages.encode(kind, **{**sample(kind), name: most})], sender)
    for wrong in (most + 1, -most - 1, 2**70):
        with pytest.raises(ProtocolError, match=name):
            messages.decode([messages.encode(kind, **{**sample(kind), name: wrong})], sender)


def test_levels_are_counted() -> None:
    for value in ("text", [1, {"a": [2]}], {"a": [{}, {}]}):
        assert messages.is_shallow(value, 3)
        assert messages.is_shallow(value, 1) == (value == "text")
    deep: Any = 1
    for _ in range(1000):
        deep = {"a": [deep]}
    assert not messages.is_shallow(deep)


@given(some.binary(max_size=200))
def test_any_other_bytes_are_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        messages.decode([data], "client")


@given(some.recursive(some.none() | some.integers() | some.text(max_size=5), some.lists, max_leaves=8))
def test_any_other_json_is_a_protocol_error(value: Any) -> None:
    with pytest.raises(ProtocolError):
        messages.decode([ujson.dumps(value).encode()], "client")
