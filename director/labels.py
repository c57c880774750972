"""Labels of a node: their bounds, and how a change is applied."""

from __future__ import annotations

import re
from collections.abc import Mapping

MOST, MOST_BYTES = 1000, 64 * 1024  # of one node; names and values count
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,252}")


def changed(labels: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """The labels after a change, in which an empty value removes a label."""
    return {name: value for name, value in {**labels, **changes}.items() if value}


def excess(labels: Mapping[str, str]) -> str:
    """Why these are too many for a node; "" when they are not."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in labels.items())
    if len(labels) <= MOST and size <= MOST_BYTES:
        return ""
    return f"{len(labels)} labels of {size} bytes; expected at most {MOST} of {MOST_BYTES >> 10} KiB together"


def name_fault(name: str) -> str:
    """Why a token or an operator cannot give a label of this name; "" when they can."""
    return "" if NAME.fullmatch(name) else "expected letters, digits and . _ / - in the name of a label"
