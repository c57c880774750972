"""States of tasks and jobs: the transitions, and the final state of a job."""

from __future__ import annotations

import itertools

import pytest

from director import states as st

ALL = sorted(st.NAMES)


def test_every_state_has_a_letter_a_word_and_a_kind() -> None:
    assert len(set(st.NAMES.values())) == len(st.NAMES) == 11
    assert set(ALL) == st.OPEN | st.FINAL
    assert not st.OPEN & st.FINAL
    assert st.NONE not in st.NAMES
    assert st.IGNORABLE < st.BAD < st.FINAL


@pytest.mark.parametrize("now", sorted(st.FINAL))
def test_a_final_state_admits_nothing(now: int) -> None:
    assert not any(st.may_become(now, new) for new in ALL)


@pytest.mark.parametrize("now", sorted(st.OPEN))
def test_every_open_state_can_come_to_an_end(now: int) -> None:
    assert all(st.may_become(now, new) for new in st.FINAL - {st.EXPIRED})
    assert not st.may_become(now, now)


def test_only_what_was_surely_never_delivered_expires() -> None:
    assert [now for now in ALL if st.may_become(now, st.EXPIRED)] == [st.QUEUED]


def test_two_ways_lead_back_to_queued() -> None:
    assert {now for now in ALL if st.may_become(now, st.QUEUED)} == {st.SENT, st.RUNNING}


def test_counts_have_every_name_and_add_up() -> None:
    counts = st.count(b"qqsrSSSCFTXELK--")
    assert list(counts) == ["total", *st.COUNT_NAMES]
    assert counts["total"] == 14 == sum(counts[name] for name in st.COUNT_NAMES)
    assert (counts["queued"], counts["success"], counts["skipped"]) == (2, 3, 1)


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=3)))
def test_the_first_that_applies_names_the_job(flags: tuple[bool, bool, bool]) -> None:
    names = ("failed", "cancelled", "incomplete")
    expected = next((name for name, flag in zip(names, flags, strict=True) if flag), "success")
    assert st.job_verdict(*flags) == expected
    assert expected in st.JOB_FINAL
