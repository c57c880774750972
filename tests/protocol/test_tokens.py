"""Tokens: what is encoded is read back, what was changed is refused, and a proof serves one key and one name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.errors import UsageError
from director.protocol import keys, tokens

SERVER, CLIENT, OTHER = (keys.new_pair().public for _ in range(3))
TOKEN = tokens.new_token(("director.example.com:5555", "192.0.2.7:5555"), SERVER)


def test_a_token_is_read_back() -> None:
    text = TOKEN.encode()
    assert tokens.decode(f" {text}\n") == TOKEN
    assert text.startswith("director1_") and text.replace("_", "").replace("-", "").isalnum()


@given(st.integers(min_value=len(tokens.PREFIX)), st.sampled_from("aZ3-_"))
def test_one_changed_character_is_noticed(at: int, character: str) -> None:
    text = TOKEN.encode()
    at = len(tokens.PREFIX) + at % (len(text) - len(tokens.PREFIX))
    if text[at] != character:
        with pytest.raises(UsageError, match=r"damaged|another version"):
            tokens.decode(text[:at] + character + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "director1_", "director2_abc", "x" * 10_000, "director1_" + "a" * 5000])
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(UsageError):
        tokens.decode(text)


def test_a_cut_token_is_damaged() -> None:
    with pytest.raises(UsageError, match="copy it as a whole"):
        tokens.decode(TOKEN.encode()[:-1])


def test_a_proof_serves_one_server_one_key_and_one_name() -> None:
    proof, verify = TOKEN.proof(CLIENT, "web-1"), TOKEN.verify_key()
    assert tokens.is_proof(proof, verify, SERVER, CLIENT, "web-1")
    assert not tokens.is_proof(proof, verify, SERVER, OTHER, "web-1")
    assert not tokens.is_proof(proof, verify, SERVER, CLIENT, "web-2")
    assert not tokens.is_proof(proof, verify, OTHER, CLIENT, "web-1")
    assert not tokens.is_proof(proof, tokens.new_token((), SERVER).verify_key(), SERVER, CLIENT, "web-1")


@pytest.mark.parametrize("proof", ["", "zz", "00" * 64, "ä" * 8, "0" * 127])
def test_what_is_no_signature_proves_nothing(proof: str) -> None:
    assert not tokens.is_proof(proof, TOKEN.verify_key(), SERVER, CLIENT, "web-1")


def test_the_stored_half_does_not_contain_the_secret() -> None:
    assert TOKEN.seed.hex() not in TOKEN.verify_key()
