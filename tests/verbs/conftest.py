"""Fixtures: a node, a folder of the operator and a folder of the node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from verb_node import FakeNode, apply

from director.transfer.blobs import BlobStore
from director.verbs.base import Outcome


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder of relative sources."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The node's working folder."""
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def node(tmp_path: Path, there: Path) -> FakeNode:
    return FakeNode(there, BlobStore(str(tmp_path / "blobs")))


@pytest.fixture
def do(node: FakeNode, here: Path) -> Callable[..., Outcome]:
    """Plan a text and apply it on the node; gives the outcome of the last step."""
    return lambda text, **options: apply(text, node, here, **options)
