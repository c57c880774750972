"""What one node may send, by data: healthy traffic never empties the bucket, a flood does."""

from __future__ import annotations

import pytest

from director.server.budgets import BURST, RATE, SHARE_BYTES, SHARE_MESSAGES, Budget, cost

MIB = 1 << 20


def messages_until_empty(units: float, a_second: float, most: int) -> int:
    """How many messages of this cost, evenly sent, a fresh bucket takes; `most` when it never empties."""
    budget = Budget(at=100.0)
    for number in range(most):
        if not budget.take(units, 100.0 + number / a_second):
            return number
    return most


@pytest.mark.parametrize(
    ("kind", "head", "body", "a_second"),
    [
        ("results", 60_000, 0, 25),  # 10,000 results a second, though none is given back
        ("get", 150, 0, 2000),  # 1 GB a second
        ("heartbeat", 100, 0, 10),
        ("offer", 200, MIB, 20),
    ],
)
def test_a_healthy_client_never_empties_it(kind: str, head: int, body: int, a_second: float) -> None:
    assert messages_until_empty(cost(kind, head, body), a_second, 20_000) == 20_000


@pytest.mark.parametrize(
    ("kind", "head", "body", "most"),
    [("profile", 800_000, 0, 60), ("contents", 150, MIB, 400), ("get", 150, 0, 80_000), ("hello", 100, 0, 500)],
)
def test_a_flood_empties_it(kind: str, head: int, body: int, most: int) -> None:
    assert messages_until_empty(cost(kind, head, body), 20_000, 200_000) < most


def test_it_fills_again_and_not_above_its_burst() -> None:
    budget = Budget(at=100.0)
    assert budget.take(BURST, 100.0) and not budget.take(1, 100.0)
    assert budget.take(RATE, 101.0) and not budget.take(RATE, 101.5)
    assert budget.take(BURST, 1e6) and not budget.take(1, 1e6)
    budget.give_back(2 * BURST)
    assert budget.left == BURST


def test_contents_that_were_asked_for_cost_nothing_and_no_others() -> None:
    budget = Budget(at=100.0, asked=10 * MIB)
    for _ in range(20):
        assert budget.take(cost("contents", 0, MIB), 100.0)
        budget.came(MIB)
    assert budget.asked == 0 and budget.left == BURST - 10 * cost("contents", 0, MIB)


def test_one_node_has_a_share_of_the_disk_queue() -> None:
    budget = Budget()
    assert budget.wait_for_disk(SHARE_BYTES + 1), "one message always may"
    assert not budget.wait_for_disk(1) and not budget.has_room
    budget.stored(SHARE_BYTES + 1)
    assert sum(budget.wait_for_disk(0) for _ in range(2 * SHARE_MESSAGES)) == SHARE_MESSAGES
