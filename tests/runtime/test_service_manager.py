"""How often the program reports to the service manager."""

from __future__ import annotations

import pytest

from director.runtime import service_manager


@pytest.mark.parametrize(
    ("allowed", "seconds"),
    [("60000000", 10.0), ("9000000", 3.0), ("0", 10.0), ("", 10.0), ("soon", 10.0), (None, 10.0)],
)
def test_pace(allowed: str | None, seconds: float) -> None:
    assert service_manager.pace({} if allowed is None else {"WATCHDOG_USEC": allowed}) == seconds
