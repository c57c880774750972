"""The syntax trees of Director's modules, each parsed once; tests that need them share a group, and so a process."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from harness import ROOT

PACKAGE = ROOT / "director"
GROUP = pytest.mark.xdist_group("syntax")


@cache
def tree(path: Path) -> ast.Module:
    """The tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes() -> list[tuple[Path, ast.AST]]:
    """Every node of every module of Director, with the file it is in."""
    return [(path, node) for path in sorted(PACKAGE.rglob("*.py")) for node in ast.walk(tree(path))]
