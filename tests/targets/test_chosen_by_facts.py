"""Which expressions let a node choose itself by what it says of itself."""

from __future__ import annotations

import pytest

from director.targets import parse
from director.targets.expressions import chosen_by_facts

BY_FACTS = [
    "fact:os.id=debian",
    "fact:memory.total>8G",
    "all and fact:os.id=debian",
    "not fact:os.id=debian",
    "all and not fact:os.id=debian",
    "not (label:tier=db and not fact:os.id=debian)",
    "web-1 or fact:os.id=debian",
    "web-1, fact:os.id=debian",
    "* and fact:os.id=debian",
    "~.* and fact:os.id=debian",
    "~.+ and fact:os.id=debian",
    "(label:tier=db or fact:a=1) and (web-* or fact:b=1)",
    "not label:tier=db and fact:os.id=debian",
    "chosen",
    "chosen and fact:a=1",
    "not chosen",
]

CONFINED = [
    "web-1",
    "all",
    "not label:tier=db",
    "label:tier",
    "label:tier=db and fact:os.id=debian",
    "fact:os.id=debian and label:tier=db",
    "label:tier=db and not fact:os.id=debian",
    "label:tier=db and (fact:a=1 or fact:b=2)",
    "(web-1 or db-[1-3]) and fact:os.id=debian",
    "web-* and fact:os.id=debian",
    "~web-.* and fact:os.id=debian",
    "label:tier=db and fact:a=1 or web-1",
    "stage and fact:a=1",
    "chosen and label:tier=db",
]


@pytest.mark.parametrize("text", BY_FACTS)
def test_chosen(text: str) -> None:
    assert chosen_by_facts(parse(text), {"chosen"})


@pytest.mark.parametrize("text", CONFINED)
def test_only_narrowed(text: str) -> None:
    assert not chosen_by_facts(parse(text), {"chosen"})
