"""The YAML form: values as written, blocks, vars, lists, mappings, entries."""

from __future__ import annotations

import pytest
from language.tables import document, yaml_step

TEXTS = [
    ("- RUN: echo hello", "echo hello"),
    ("- RUN: true", "true"),
    ("- RUN: null", "null"),
    ("- WORKDIR: 0755", "0755"),
    ("- RUN: 'a # b'", "a # b"),
    ("- RUN: a # b", "a"),
    ("- REBOOT:", ""),
    ("- RUN: >\n    a \\\n      b\n\n    c", "a b c"),
    ("- RUN: >-\n    one\n    two\\\n    three\n", "one two three"),
    ("- RUN: |\n    if a; then\n      b \\\n      c\n    fi\n", "if a; then\n  b \\\n  c\nfi"),
    ("- RUN: |\n    cat <<EOF\n    x\n    EOF", "cat <<EOF\nx\nEOF"),
    ("- RUN: a\n    b", "a b"),
    ('- RUN: "{{ a }} b"', "{{ a }} b"),
    ("- name: greet\n  RUN: a", "a"),
    ("- run: a", "a"),
    ("- RUN: [echo, 'a b', 1.10]", '["echo", "a b", "1.10"]'),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_texts(text: str, expected: str) -> None:
    assert yaml_step(text).text == expected


def test_flags_stand_in_front_or_in_vars() -> None:
    step = yaml_step("- COPY: --chmod=0644 --chown a 'x y' /etc/\n  vars: {skip_cache: true, timeout: 1m, name: n}")
    assert step.flags == {"chmod": "0644", "chown": "a", "skip-cache": True, "timeout": 60.0, "name": "n"}
    assert step.text == "'x y' /etc/"


def test_vars_are_as_written_and_lists_repeat() -> None:
    step = yaml_step("- COPY: a b\n  vars: {chmod: 0644, exclude: [x, 1.10], link: no}\n  name: c\n  assign: [web-01]")
    assert step.flags == {"chmod": "0644", "exclude": ["x", "1.10"], "link": False, "name": "c"}
    assert step.assign == ("web-01",)
    assert yaml_step("- RUN: a\n  vars:\n    ok_codes: [0, 2]").flags == {"ok-codes": [0, 2]}


def test_a_list_is_the_json_form_and_a_mapping_is_pairs() -> None:
    assert yaml_step("- RUN: [echo, 'a b', true]").args == ("echo", "a b", "true")
    step = yaml_step("- ENV: {A: 1.10, B: 'x y', C: [1, {d: NO}], E: }")
    assert step.pairs == (("A", "1.10"), ("B", "x y"), ("C", '[1, {"d": "NO"}]'), ("E", ""))
    assert step.text == """A=1.10 B="x y" C="[1, {\\"d\\": \\"NO\\"}]" E="\""""


def test_entries() -> None:
    read = document(
        "- name: web tier\n  targets: [web-01, 'web-*']\n  async: true\n  jobs:\n  - RUN: a\n\n  - RUN: b\n"
        "- targets: db\n  assign: [x]\n  jobs:\n  - RUN: c\n- targets: []\n  jobs: [RUN: d]\n",
        "x.yaml",
    )
    assert [(stage.name, stage.targets, stage.asynchronous, stage.line) for stage in read.stages] == [
        ("web tier", ("web-01", "web-*"), True, 1),
        ("", ("x",), False, 8),
        ("", (), False, 12),
    ]
    assert [step.line for stage in read.stages for step in stage.instructions] == [5, 7, 11, 13]
    assert read.stages[0].instructions[0].form == "yaml"


def test_anchors_stand_for_what_they_name() -> None:
    read = document("- jobs: &j\n  - RUN: a\n- jobs: *j\n", "x.yaml")
    assert [stage.instructions[0].text for stage in read.stages] == ["a", "a"]


def test_merge_keys_bring_what_is_not_there() -> None:
    text = """
- &base
  targets: db
  jobs: [RUN: a]
- <<: *base
  targets: web
- jobs:
  - RUN: &flags b
    vars: &vars {timeout: 5, retry: 2}
  - RUN: c
    vars: {<<: [{timeout: 1}, *vars], user: d}
"""
    read = document(text, "x.yaml")
    assert [(stage.targets, stage.instructions[0].text) for stage in read.stages[:2]] == [
        (("db",), "a"),
        (("web",), "a"),
    ]
    assert read.stages[2].instructions[1].flags == {"timeout": 1.0, "retry": 2, "user": "d"}
