"""Job ids and names."""

import pytest

from director.ids import is_job_id, name_fault, new_job_id


def test_a_job_id_is_16_hex_characters_and_no_number_to_anyone():
    ids = {new_job_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    for job in ids:
        assert is_job_id(job) and job[0] in "abcdef"


@pytest.mark.parametrize("text", ["", "a" * 15, "a" * 17, "A" * 16, "g" * 16, "a" * 16 + "\n", "last"])
def test_what_is_no_job_id(text):
    assert not is_job_id(text)


@pytest.mark.parametrize("name", ["a", "0", "web-01.example.org", "A_b-c.", "x" * 253, "All", "lasting"])
def test_good_names(name):
    assert name_fault(name) == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("x" * 254, "longer than 253"),
        *((word, "reserved") for word in ("all", "and", "or", "not", "last")),
        ("-a", "begin with"),
        (".a", "begin with"),
        ("a b", "' '"),
        ("a\n", r"\\n"),
        ("w\u00e9b", r"\\xe9"),
        ("a/b", "'/'"),
    ],
)
def test_bad_names_say_why(name, why):
    assert why.replace("\\\\", "\\") in name_fault(name)
