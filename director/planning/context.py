"""The values that are known before a job runs: the file's ARGs, `--arg`, and for sources a node and its facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from director.errors import VerbError
from director.globs import shielded, unshielded
from director.language import braces
from director.language.origin import SECRET
from director.language.substitution import render_word, used_names
from director.language.types import Names
from director.language.words import whole_quoted

NODE_NAMES = frozenset(("node", "facts"))


class NodeNeededError(Exception):
    """The text uses `node` or `facts`, so that it differs from node to node."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a source may use of one node."""

    name: str
    labels: Mapping[str, str]
    facts: Mapping[str, Any]


@dataclass(slots=True)
class Context:
    """The values known when planning.

    Attributes:
        overrides: `--arg`, which beats the file.
        texts: the text of each ARG, None for one that is declared without a value.
        quoted: the ARGs whose value is written in quotes.
        fixed: the ARGs, and names of `--arg`, whose value no node has a say in.
        env: the names that an ENV has set, which beats an ARG.
    """

    overrides: Mapping[str, str]
    texts: dict[str, str | None] = field(default_factory=dict)
    quoted: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    env: set[str] = field(default_factory=set)

    def copy(self) -> Context:
        """An independent copy."""
        return Context(self.overrides, dict(self.texts), set(self.quoted), set(self.fixed), set(self.env))

    def declare(self, pairs: Iterable[tuple[str, str | None]], escape: str = "\\", extend: bool = False) -> None:
        """Set the names of one ARG; a value that is not known, or depends on the node, makes its name unknown.

        Args:
            pairs: names and raw values; no value uses another one of the same ARG.
            extend: lists and mappings are joined with those that the node remembers, and so are not known.
        """
        before = self.copy()
        for raw_name, raw in pairs:
            try:
                name = before.render(raw_name, escape)
                text = None if raw is None else before.render(raw, escape)
                fixed = raw is not None and before.is_fixed(raw_name, escape) and before.is_fixed(raw, escape)
            except (ValueError, VerbError, NodeNeededError):
                self.forget(raw_name)
            else:
                if extend and text and text.strip()[:1] in ("[", "{"):
                    self.forget(name)
                    self.fixed.discard(name)
                    continue
                self._fix(name, fixed or (not extend and name in self.overrides))
                self.texts[name] = text if text is not None else self.texts.get(name)
                if raw is not None:
                    (self.quoted.add if whole_quoted(raw) else self.quoted.discard)(name)

    def forget(self, name: str) -> None:
        """Make the name's value unknown; that of `--arg` stays."""
        self.texts.pop(name, None)
        self.doubt((name,))

    def doubt(self, names: Iterable[str]) -> None:
        """A node may have given these names other values; `--arg` beats them."""
        self.fixed.difference_update(set(names) - self.overrides.keys())

    def differ(self, other: Context) -> None:
        """Some nodes have the values of another context: names that have another value there are not fixed."""
        same = {name for name in other.fixed if self.texts.get(name) == other.texts.get(name)}
        self.fixed &= same | (other.fixed & self.overrides.keys())
        self.env |= other.env

    def set_env(self, pairs: Iterable[tuple[str, str | None]], escape: str = "\\", extend: bool = False) -> None:
        """An ENV beats the ARGs of its names: they stay fixed where it is known to set the same text."""
        before = self.copy()
        for raw_name, raw in pairs:
            name, same = raw_name, False
            with suppress(ValueError, VerbError, NodeNeededError):
                name = before.render(raw_name, escape)
                text = {**before.texts, **before.overrides}.get(name)
                same = not extend and text == before.render(raw or "", escape) and before.is_fixed(raw or "", escape)
            self._fix(name, same and name in self.fixed)
            self.env.add(name)

    def is_fixed(self, raw: str, escape: str = "\\") -> bool:
        """Whether the word uses only names whose value no node has a say in. Raises ValueError: it cannot be read."""
        return used_names(raw, escape) <= self.fixed

    def _fix(self, name: str, fixed: bool) -> None:
        (self.fixed.add if fixed and name not in self.env else self.fixed.discard)(name)

    def render(
        self,
        raw: str,
        escape: str = "\\",
        quotes: bool = True,
        node: NodeFacts | None = None,
        shield: bool = False,
        templates: bool = True,
    ) -> str:
        """One raw word with braces and `$X` replaced.

        Args:
            quotes: whether to remove quotes and escapes.
            node: the node for `node` and `facts`.
            shield: whether to put `\\` before stars that come from values, so that they match only themselves.
            templates: False leaves braces as they are, for a step with `--raw`.

        Raises:
            ValueError: a name is not known, or the text cannot be read.
            NodeNeededError: `node` or `facts` is used, and `node` is None.
            VerbError: `${NAME:?text}` of an unset name, or an expression that fails.
        """
        if "$" not in raw and not (templates and braces.present(raw)):
            return raw if not quotes else render_word(raw, {}, lambda name: None, escape, braces=templates)
        self._check(used_names(raw, escape, templates=templates), node)
        texts = {name: text for name, text in {**self.texts, **self.overrides}.items() if text is not None}
        if shield:
            texts = {name: shielded(text) for name, text in texts.items()}
        of_node = {} if node is None else {"id": node.name, "labels": dict(node.labels)}
        names = Names(texts, {} if node is None else node.facts, of_node, {}, self.quoted - self.overrides.keys())
        rendered = render_word(raw, names, texts.get, escape, quotes, templates)
        return unshielded(rendered) if shield else rendered

    def _check(self, used: set[str], node: NodeFacts | None) -> None:
        unknown = used - self.texts.keys() - self.overrides.keys()
        if unknown & NODE_NAMES and unknown <= NODE_NAMES and node is None:
            raise NodeNeededError
        unknown -= NODE_NAMES
        if SECRET in unknown:
            raise ValueError("secret() stands in files with --blueprint and in here-documents of COPY and ADD only")
        if unknown:
            name = min(unknown)
            raise ValueError(
                f"{name} is not known when planning; expected an ARG of the file with a value that does not depend on "
                f"the node, or --arg {name}=VALUE"
            )
