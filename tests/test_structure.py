"""The shape of the code: imports go one way, every file says its idea, nothing happens at import time."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from harness import ROOT

FILES = sorted((ROOT / "director").rglob("*.py"))


def module_name(path: Path) -> str:
    """`director.daemon.server` for director/daemon/server.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Modules of director that the file imports when it is itself imported."""
    found = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in MODULES and name != "director"}


def cycle_from(start: str) -> list[str]:
    """A way from the module back to itself along imports, [] when there is none."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for name in imported(MODULES[way[-1]]) - {way[-1]}:
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


@pytest.mark.parametrize("name", MODULES)
def test_imports_make_no_circle(name: str) -> None:
    assert cycle_from(name) == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_says_its_idea_and_imports_names(path: Path) -> None:
    first = (ast.get_docstring(tree(path)) or "").split("\n")[0]
    assert first or not path.read_text(), "the first line is the file's one idea"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.names[0].name != "*", "import * hides where names come from"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_is_patched_at_import_time(path: Path) -> None:
    for node in tree(path).body:
        called = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
        names = {func.attr for func in called if isinstance(func, ast.Attribute)}
        inside = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        assert inside or "patch_all" not in names


@pytest.mark.parametrize("library", ["jinja2", "psutil", "configargparse", "rich", "sqlite3", "re2"])
def test_a_library_has_one_door(library: str) -> None:
    doors = {
        module_name(path).split(".")[1]
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] == library
    }
    assert len(doors) == 1
