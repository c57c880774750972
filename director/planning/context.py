"""What is known before a job runs: the file's ARGs and `--arg`, and for sources the node and its facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from director.errors import VerbError
from director.globs import shielded, unshielded
from director.language import braces
from director.language.substitution import render_word, used_names
from director.language.types import namespace
from director.language.words import whole_quoted

NODE_NAMES = frozenset(("node", "facts"))


class NodeNeededError(Exception):
    """The text is another one for each node."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node, as a source may name it."""

    name: str
    labels: Mapping[str, str]
    facts: Mapping[str, Any]


@dataclass(slots=True)
class Context:
    """Names with their texts (None: declared, but without a value), and those whose value was written in quotes.

    `--arg` beats the file.
    """

    overrides: Mapping[str, str]
    texts: dict[str, str | None] = field(default_factory=dict)
    quoted: set[str] = field(default_factory=set)

    def copy(self) -> Context:
        """An independent copy."""
        return Context(self.overrides, dict(self.texts), set(self.quoted))

    def declare(self, pairs: Iterable[Iterable[str | None]], escape: str = "\\", extend: bool = False) -> None:
        """Take over an ARG; a value that depends on the node makes its name unknown. No value sees another.

        Args:
            extend: lists and mappings join what the node remembers, which is not known.
        """
        before = self.copy()
        for pair in pairs:
            raw_name, raw = pair
            try:
                name = before.render(raw_name or "", escape)
                text = None if raw is None else before.render(raw, escape)
            except (ValueError, VerbError, NodeNeededError):
                self.forget(raw_name or "")
            else:
                if extend and text and text.strip()[:1] in ("[", "{"):
                    self.forget(name)
                    continue
                self.texts[name] = text if text is not None else self.texts.get(name)
                if raw is not None:
                    self.quoted.discard(name)
                    self.quoted.update([name] if whole_quoted(raw) else ())

    def forget(self, name: str) -> None:
        """The name's value is not known any more, or not yet."""
        self.texts.pop(name, None)

    def value(self, name: str) -> str | None:
        """The text of a name."""
        return self.overrides[name] if name in self.overrides else self.texts.get(name)

    def render(
        self,
        raw: str,
        escape: str = "\\",
        quotes: bool = True,
        node: NodeFacts | None = None,
        shield: bool = False,
        templates: bool = True,
    ) -> str:
        """One raw word with everything replaced.

        Args:
            quotes: take quotes and escapes away.
            node: whose `node` and `facts` may be used.
            shield: put `\\` before stars that come from values, so that they match themselves only.
            templates: False leaves braces alone, for a step with `--raw`.

        Raises:
            ValueError: a name that is not known, with what is; or what does not parse.
            NodeNeededError: `node` or `facts` is used, and `node` is None.
            VerbError: `${NAME:?text}`, or an expression that fails.
        """
        if "$" not in raw and not (templates and braces.present(raw)):
            return raw if not quotes else render_word(raw, {}, lambda name: None, escape, braces=templates)
        self._check(used_names(raw, escape, templates=templates), node)
        texts = {name: text for name in {**self.texts, **self.overrides} if (text := self.value(name)) is not None}
        if shield:
            texts = {name: shielded(text) for name, text in texts.items()}
        of_node = {} if node is None else {"id": node.name, "labels": dict(node.labels)}
        names = namespace(texts, {} if node is None else node.facts, of_node, {}, self.quoted - self.overrides.keys())
        rendered = render_word(raw, names, texts.get, escape, quotes, templates)
        return unshielded(rendered) if shield else rendered

    def _check(self, used: set[str], node: NodeFacts | None) -> None:
        unknown = used - self.texts.keys() - self.overrides.keys()
        if unknown & NODE_NAMES and unknown <= NODE_NAMES and node is None:
            raise NodeNeededError
        unknown -= NODE_NAMES
        if unknown:
            name = min(unknown)
            raise ValueError(
                f"{name} is not known when planning; expected an ARG of the file with a value that does not depend on "
                f"the node, or --arg {name}=VALUE"
            )
