"""Pairs of keys as they are made."""

from __future__ import annotations

import pytest
import zmq

from director.protocol import keys


def test_no_public_key_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--server-key -aEfta…` is an error of the command line."""
    made = iter([(b"-" + b"a" * 39, b"s" * 40), (b"-" * 40, b"s" * 40), (b"b" * 40, b"s" * 40)])
    monkeypatch.setattr(zmq, "curve_keypair", lambda: next(made))
    assert keys.new_pair().public == "b" * 40
