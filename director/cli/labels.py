"""`--label-node`: labels from words, or of many nodes from standard input."""

from __future__ import annotations

import sys

from director.cli.output import note
from director.cli.server import ask
from director.config.settings import Settings
from director.errors import EXIT_OK, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 8 << 20  # characters of the input

Changes = dict[str, dict[str, str]]  # by node; an empty value removes a label


def label_node(settings: Settings) -> int:
    """Set labels of the nodes of an expression, or of the nodes that standard input names."""
    expression, *words = settings.words
    if expression == "-":
        if words:
            raise UsageError(f"--label-node - takes the labels from standard input, not {words[0]}")
        request = {"do": "label-node", "nodes": read(_input())}
    elif words:
        request = {"do": "label-node", "node": expression, "labels": _pairs(words, "--label-node")}
    else:
        raise UsageError(f"--label-node {expression}: expected labels behind it, KEY=VALUE, or KEY= to remove one")
    done = ask(settings, request)
    note(f"{done['nodes']} nodes have these labels; {done['changed']} had others before")
    return EXIT_OK


def read(text: str) -> Changes:
    """The changes of a text: JSON `{node: {key: value}}`, or CSV, a line `node,key=value,…` for each node.

    Raises:
        UsageError: it is neither; the message has the line.
    """
    found = _from_json(text) if text.lstrip()[:1] == "{" else _from_csv(text)
    if not found:
        raise UsageError("standard input names no node; expected lines NODE,KEY=VALUE or JSON {NODE: {KEY: VALUE}}")
    return found


def _input() -> str:
    try:
        text = sys.stdin.buffer.read(LIMIT + 1).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8 text") from None
    if len(text) > LIMIT:
        raise UsageError(f"standard input is longer than {LIMIT >> 20} MiB; label fewer nodes at once")
    return text


def _from_json(text: str) -> Changes:
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"standard input is no JSON: {error}") from None
    changes: Changes = {}
    for name, labels in found.items():
        if not isinstance(labels, dict):
            raise UsageError(f"{name}: expected an object of labels, as in {{{name!r}: {{'tier': 'web'}}}}")
        for key, value in labels.items():
            if not isinstance(value, (str, type(None))):
                raise UsageError(f"{name}: the label {key} has no text; expected one in quotes, or null to remove it")
        changes[name] = {key: value or "" for key, value in labels.items()}
    return changes


def _from_csv(text: str) -> Changes:
    import csv

    changes: Changes = {}
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                place = f"line {reader.line_num} of standard input"
                if not cells[0] or "=" in cells[0]:
                    raise UsageError(f"{place}: expected a node's name first, as in web-01,tier=web")
                changes.setdefault(cells[0], {}).update(_pairs(filter(None, cells[1:]), place))
    except csv.Error as error:
        raise UsageError(f"line {reader.line_num} of standard input: {error}") from None
    return changes


def _pairs(words: Iterable[str], place: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{place}: {word[:80]!r} is no label; expected KEY=VALUE, or KEY= to remove one")
        pairs[key] = value
    return pairs
