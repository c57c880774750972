"""The shape of the code: folders have ranks, imports go down, libraries have one door, nothing happens at import."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from harness import ROOT
from syntax import GROUP, PACKAGE
from syntax import tree as tree_of

pytestmark = GROUP

# A module imports from its own folder and from those in earlier rows only. docs/architecture.md explains the rows.
RANKS = (
    ("errors", "states", "ids", "durations", "node_sets", "globs", "labels"),
    ("runtime",),
    ("config", "protocol"),
    ("scheduler", "language", "transfer", "process"),
    ("targets", "stores"),
    ("verbs",),
    ("planning",),
    ("workers", "agent"),
    ("server",),
    ("api",),
    ("report", "doctor"),
    ("library",),
    ("cli",),
    ("daemon",),
    ("__main__",),
)
RANK = {name: number for number, row in enumerate(RANKS) for name in row}

# The only module, or folder, that imports the library.
DOORS = {
    "zmq": "director.protocol",
    "jinja2": "director.language.templating",
    "psutil": "director.agent.facts",
    "configargparse": "director.config.parser",
    "yaml": "director.runtime.yaml_text",
    "rich": "director.cli.progress",
    "re2": "director.targets.regexes",
    "sqlite3": "director.stores",
}
LOOSE_MODULES = 12


def module_name(path: Path) -> str:
    """`director.server.main` for director/server/main.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def tree(name: str) -> ast.Module:
    """The module's syntax tree."""
    return tree_of(MODULES[name])


@cache
def imported(name: str) -> frozenset[str]:
    """Everything that the module imports, anywhere in its text; types count as well."""
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return frozenset(found)


def own(name: str) -> set[str]:
    """The modules of director that the module imports."""
    found = {module for module in imported(name) if module in MODULES and module not in ("director", name)}
    packages = {module for module in found if MODULES[module].name == "__init__.py"}
    return {module for module in found if module not in packages or not any(m.startswith(f"{module}.") for m in found)}


def cycle_from(start: str) -> list[str]:
    """A way from the module back to itself along imports, [] when there is none."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for name in own(way[-1]):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def layer(name: str) -> str:
    """`server` for `director.server.main`."""
    return name.split(".")[1]


def test_every_layer_has_a_rank() -> None:
    assert {layer(name) for name in MODULES if name != "director"} == set(RANK)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    if name == "director":
        assert own(name) == {"director.errors", "director.library.client"}, "it is the door of the library"
        return
    wrong = {
        module
        for module in own(name)
        if name != "director" and layer(module) != layer(name) and RANK[layer(module)] >= RANK[layer(name)]
    }
    assert wrong == set()


@pytest.mark.parametrize("name", MODULES)
def test_imports_make_no_cycle(name: str) -> None:
    assert cycle_from(name) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_file_says_its_idea_and_imports_names(name: str) -> None:
    first = (ast.get_docstring(tree(name)) or "").split("\n")[0]
    assert first or not tree(name).body, "the first line is the file's one idea"
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom):
            assert node.names[0].name != "*", "import * hides where names come from"


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_patched_at_import_time(name: str) -> None:
    for node in tree(name).body:
        called = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
        names = {func.attr for func in called if isinstance(func, ast.Attribute)}
        inside = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        assert inside or "patch_all" not in names


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    users = {
        name
        for name in MODULES
        if any(module == library or module.startswith(f"{library}.") for module in imported(name))
    }
    door = DOORS[library]
    assert {name for name in users if name != door and not name.startswith(f"{door}.")} == set()
    assert users, "the library has gone: take its row away"


def test_few_modules_are_loose() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.suffix == ".py"]) <= LOOSE_MODULES
