"""The chain of the audit log: each change of a line, each missing, moved or added line is found, and named."""

from __future__ import annotations

import pytest

from director.stores.audit_chain import FAULTS, REMOVED, Check, Head, read, seal

Lines = list[bytes]


def chain(count: int, head: Head = Head()) -> tuple[Lines, Head]:  # noqa: B008
    """Lines behind `head`, and the end of the chain."""
    lines = []
    for number in range(count):
        text, head = seal({"event": "x", "i": number}, head)
        lines.append(text.encode())
    return lines, head


LINES, HEAD = chain(8)


def faults(lines: Lines, head: Head = HEAD) -> list[tuple[int, int, str]]:
    """Place, number and text of each fault."""
    check = Check()
    for place, line in enumerate(lines, 1):
        check.take("f", place, line)
    return [(fault.line, fault.number, fault.fault) for fault in check.end(head)]


def changed(number: int) -> Lines:
    """The lines, one of which says something else."""
    lines = LINES.copy()
    lines[number - 1] = lines[number - 1].replace(b'"i":', b'"i":9')
    return lines


def forged(number: int) -> Lines:
    """The lines, one of which says something else under a hash that fits."""
    before = Head(number - 1, LINES[number - 2][-66:-2].decode()) if number > 1 else Head()
    text, _ = seal({"event": "y"}, before)
    return [*LINES[: number - 1], text.encode(), *LINES[number:]]


def test_a_whole_log_has_no_fault() -> None:
    assert faults(LINES) == [] and faults([], Head()) == []
    line = read(LINES[0])
    assert line is not None and line.whole and (line.number, line.previous) == (1, "0" * 64)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_changed_line_is_named(number: int) -> None:
    assert faults(changed(number)) == [(number, number, "was changed")]
    ((place, named, text),) = faults(forged(number))
    assert (place, named) == (number, number)
    assert text.startswith("was changed, as ") and ("line" in text or "ledger" in text)


@pytest.mark.parametrize("number", range(2, 8))
def test_a_missing_line_is_named(number: int) -> None:
    assert faults([*LINES[: number - 1], *LINES[number:]]) == [(number, number, "is missing")]


@pytest.mark.parametrize("number", range(2, 7))
def test_swapped_lines_are_named(number: int) -> None:
    swapped = [*LINES[: number - 1], LINES[number], LINES[number - 1], *LINES[number + 1 :]]
    assert faults(swapped) == [(number + 1, number, f"is out of order: it stands behind line {number + 1}")]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (LINES[:-2], [(6, 7, "and the lines up to 8 are missing at the end")]),
        (LINES[:-1], [(7, 8, "is missing at the end")]),
        ([], [(0, 1, "and the lines up to 8 are missing at the end")]),
        (LINES[2:], [(1, 1, "and the lines up to 2 are missing at the beginning")]),
        ([*LINES[:2], *LINES[5:]], [(3, 3, "and the lines up to 5 are missing")]),
        ([*LINES[:4], LINES[2], *LINES[4:]], [(5, 3, "is there twice")]),
        ([*LINES[:3], b"{}", *LINES[4:]], [(4, 4, "is no line of an audit log, or was changed")]),
        ([*LINES, *chain(1, HEAD)[0]], [(9, 9, "stands behind line 8, the last one that the ledger knows")]),
    ],
)
def test_what_is_missing_or_too_much_is_named(lines: Lines, found: list[tuple[int, int, str]]) -> None:
    assert faults(lines) == found


def test_a_log_may_begin_behind_the_files_that_it_says_were_removed() -> None:
    text, head = seal({"event": REMOVED, "last": 4, "last_hash": LINES[3][-66:-2].decode()}, HEAD)
    assert faults([*LINES[4:], text.encode()], head) == []
    assert faults([*LINES[5:], text.encode()], head) == [(1, 1, "and the lines up to 5 are missing at the beginning")]
    text, head = seal({"event": REMOVED, "last": 4, "last_hash": "f" * 64}, HEAD)
    assert len(faults([*LINES[4:], text.encode()], head)) == 1


@pytest.mark.parametrize("entry", ['"last":1', '"last":"x","last_hash":1', '"last":{},"last_hash":""'])
def test_a_line_that_says_what_was_removed_in_another_form_removes_nothing(entry: str) -> None:
    text = seal({"event": REMOVED}, Head())[0].replace(f'"{REMOVED}"', f'"{REMOVED}",{entry}')
    assert faults([text.encode()], Head(1))


def test_faults_are_bounded() -> None:
    check = Check()
    for place in range(FAULTS + 10):
        check.take("f", place, b"x")
    assert len(check.end(Head())) == FAULTS and check.left_out == 10


@pytest.mark.parametrize("text", ["é\ud800\x1b[31m\n\u202e", "x" * 100_000, ""])
def test_a_line_is_one_line_of_ascii_whatever_it_says(text: str) -> None:
    line, _ = seal({"event": text}, Head())
    assert line.isascii() and line.isprintable() and read(line.encode()) is not None
