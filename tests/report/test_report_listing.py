"""Listings in every format."""

import csv
import io
import json
import subprocess
import sys
import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from report.answers import ID, job, node, task

from director.config.table import FORMATS
from director.report.nodes import render_node
from director.report.plans import render_plans
from director.report.tables import JOB_COLUMNS, JOB_FIELDS, NODE_COLUMNS, render_ids, render_list

JOB = {key: value for key, value in job(("RUN x", [task("a"), task("b", "running")])).items() if key != "steps"}
NASTY = "\x1b[2J\r\n\x9b31m\u202e,\"'\x00 \u00fc\u4e2d\ud800"


def text(pieces):
    return "".join(pieces)


def test_the_table_of_jobs():
    lines = text(render_list([JOB, {**JOB, "name": "a much longer name"}], JOB_COLUMNS, "table")).splitlines()
    assert lines[0].split() == ["ID", "STATE", "NAME", "DONE/TOTAL", "CREATED", "DURATION", "BY"]
    assert lines[1].split() == [ID, "success", "exec", "1/2", "2031-05-04T10:00:00Z", "1m05s", "root"]
    assert lines[0].index("DONE/TOTAL") == lines[1].index("1/2") == lines[2].index("1/2")


def test_the_table_of_nodes():
    lines = text(render_list([node(), node(last_seen=None, labels={})], NODE_COLUMNS, "table")).splitlines()
    assert lines[0].split() == ["ID", "STATE", "ADDRESS", "VERSION", "LAST-SEEN", "LABELS", "REASON"]
    assert lines[1].split()[-2:] == ["a=1,tier=web", "-"]
    assert lines[2].split()[-3:] == ["-", "-", "-"]


def test_no_header_and_no_rows():
    assert text(render_list([], JOB_COLUMNS, "table", header=False)) == ""
    assert text(render_list([], JOB_COLUMNS, "table")).startswith("ID  STATE")
    assert text(render_list([], JOB_COLUMNS, "csv", header=False)) == ""
    assert text(render_list([], JOB_COLUMNS, "jsonl")) == ""
    assert json.loads(text(render_list([], JOB_COLUMNS, "json"))) == []
    assert yaml.safe_load(text(render_list([], JOB_COLUMNS, "yaml"))) == []


def test_the_formats_for_programs_show_rows_unchanged():
    rows = [JOB, {**JOB, "name": 'line\nbreak, "quoted" \u00fc'}]
    assert json.loads(text(render_list(iter(rows), JOB_COLUMNS, "json"))) == rows
    assert yaml.safe_load(text(render_list(iter(rows), JOB_COLUMNS, "yaml"))) == rows
    assert [json.loads(line) for line in text(render_list(rows, JOB_COLUMNS, "jsonl")).splitlines()] == rows


def test_csv_has_every_field_by_its_json_name():
    answer = text(render_list([JOB, {**JOB, "name": 'a,"b"\nc'}], JOB_COLUMNS, "csv", fields=JOB_FIELDS))
    assert answer.count("\r\n") == 3
    rows = list(csv.DictReader(io.StringIO(answer, newline="")))
    assert rows[1]["name"] == 'a,"b"\nc'
    assert rows[0]["final"] == "true" and rows[0]["tasks_running"] == "1" and rows[0]["started_at"] == ""
    flat = {key for key in JOB if key != "tasks"} | {f"tasks_{key}" for key in JOB["tasks"]}
    assert set(rows[0]) == flat


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_text_cannot_control_a_terminal_nor_break_the_output(format):
    answer = text(render_list([{**JOB, "name": NASTY}], JOB_COLUMNS, format))
    answer.encode("utf-8")
    assert not set(answer.replace("\r\n", "\n")) & set("\x1b\x9b\x00\r\u202e\u061c\x85")
    if format == "table":
        assert len(answer.splitlines()) == 2 and r"\x1b[2J" in answer


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+x", "'+x"),
        ("-rw-r--r--", "'-rw-r--r--"),
        ("\t=1", "'\t=1"),
        ("\r=1", r"'\r=1"),
        ("-12.5", "-12.5"),
        ("+3e8", "+3e8"),
        (-7, "-7"),
        ("a=1", "a=1"),
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
    ],
)
def test_a_spreadsheet_computes_no_cell_of_csv(value, cell):
    answer = text(render_list([{"id": value}], {"ID": "id"}, "csv", header=False))
    assert next(csv.reader(io.StringIO(answer, newline=""))) == [cell]


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_yaml_escapes_and_keeps_every_text(value):
    answer = text(render_list([{value: value}], {}, "yaml"))
    assert all(sign == "\n" or unicodedata.category(sign) != "Cc" for sign in answer)
    assert yaml.safe_load(answer) == [{value: value}]


def test_wide_characters_keep_columns_aligned():
    rows = [{"id": "a", "name": "\u4e2d\u6587"}, {"id": "b", "name": "e\u0301abc"}]
    columns = {title: JOB_COLUMNS[title] for title in ("ID", "NAME", "DONE/TOTAL")}
    lines = text(render_list(rows, columns, "table")).splitlines()
    assert [line.index("0/0") for line in lines[1:]] == [8, 11]


def test_streams_row_by_row():
    taken = []

    def rows():
        for n in range(3):
            taken.append(n)
            yield {"id": str(n)}

    for format in ("json", "jsonl", "yaml", "csv"):
        taken.clear()
        pieces = render_list(rows(), JOB_COLUMNS, format, header=False)
        next(pieces)
        assert taken == [0]


def test_node_info():
    full = node(facts={"os": {"id": "debian"}, "addresses": ["1", "2"], "up": True}, args={"A": "x\x1b"})
    table = text(render_node(full, "table"))
    for line in (
        ["os.id", "debian"],
        ["addresses", "1,", "2"],
        ["up", "true"],
        ["A", r"x\x1b"],
        ["host_uptime", "1d01h"],
    ):
        assert line in [each.split() for each in table.splitlines()]
    assert json.loads(text(render_node(full, "json"))) == full
    assert yaml.safe_load(text(render_node(full, "yaml"))) == full
    assert json.loads(text(render_node(full, "jsonl"))) == full
    row = next(csv.DictReader(io.StringIO(text(render_node(full, "csv")))))
    assert json.loads(row["facts"]) == full["facts"]


def test_plan():
    plan = {
        "stages": [{"name": "", "nodes": ["a1", "a2"], "unmatched": ["x-*"]}],
        "steps": [
            {
                "index": 0,
                "verb": "RUN",
                "text": "RUN x",
                "stage": "",
                "nodes": [{"node": name, "action": "cached", "reason": "same"} for name in ("a1", "a2")],
            }
        ],
        "warnings": ["beware"],
    }
    table = text(render_plans([plan], [], "table"))
    assert "stage 0: a[1-2]\n  matches nothing: x-*\n" in table and "  cached  a[1-2]: same\n" in table
    assert "beware" not in table
    assert json.loads(text(render_plans([plan], [], "json"))) == plan
    assert [json.loads(line)["node"] for line in text(render_plans([plan], [], "jsonl")).splitlines()] == ["a1", "a2"]
    assert text(render_plans([plan], [], "csv")).splitlines()[1] == "0,RUN,RUN x,,a1,cached,same,1"


def test_ids():
    assert text(render_ids([ID], "table")) == f"{ID}\n"
    assert json.loads(text(render_ids([ID], "json"))) == {"id": ID}
    assert json.loads(text(render_ids([ID, ID], "json"))) == [{"id": ID}] * 2
    assert text(render_ids([ID], "csv")) == f"id\r\n{ID}\r\n"
    assert yaml.safe_load(text(render_ids([ID], "yaml"))) == {"id": ID}


def test_a_table_imports_nothing_heavy():
    heavy = ("typing", "dataclasses", "json", "yaml", "csv", "rich", "unicodedata", "director.node_sets")
    code = (
        "import sys\nfrom director.report.tables import JOB_COLUMNS, render_list\n"
        "''.join(render_list([{'id': 'a', 'tasks': {}}], JOB_COLUMNS, 'table'))\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-S", "-c", code], text=True) == "[]\n"


def test_json_imports_no_yaml():
    code = (
        "import sys\nfrom director.report.tables import render_ids\nlist(render_ids(['a'], 'json'))\n"
        "print([name for name in ('yaml', 'csv') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-S", "-c", code], text=True) == "[]\n"
