"""Networks from which mode auto enrols."""

from __future__ import annotations

import pytest

from director.errors import UsageError
from director.server.networks import Networks, is_loopback


@pytest.mark.parametrize(
    ("words", "address", "inside"),
    [
        (["private"], "127.0.0.1", True),
        (["private"], "::1", True),
        (["private"], "10.1.2.3", True),
        (["private"], "172.31.0.1", True),
        (["private"], "192.168.1.1", True),
        (["private"], "100.64.0.9", True),
        (["private"], "fd00::1", True),
        (["private"], "fe80::1%eth0", True),
        (["private"], "::ffff:10.0.0.1", True),
        (["private"], "8.8.8.8", False),
        (["private"], "2600::1", False),
        (["private"], "172.32.0.1", False),
        (["private"], "::ffff:8.8.8.8", False),
        (["private"], "0.0.0.0", False),
        (["203.0.113.0/24"], "203.0.113.7", True),
        (["203.0.113.7"], "203.0.113.7", True),
        (["203.0.113.7"], "203.0.113.8", False),
        (["203.0.113.0/24"], "10.0.0.1", False),
        (["private", "8.8.0.0/16"], "8.8.8.8", True),
        (["all"], "2600::1", True),
        (["all"], "8.8.8.8", True),
        ([], "127.0.0.1", False),
        (["private"], "no address", False),
    ],
)
def test_membership(words: list[str], address: str, inside: bool) -> None:
    assert Networks(words).contain(address) is inside


@pytest.mark.parametrize("word", ["10.0.0.0/33", "example.com", "", "privat"])
def test_what_is_no_network_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--enroll-from"):
        Networks([word])


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "eth0")))
