"""What is known before a job runs: the file's ARGs and `--arg`, and for sources the node and its facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from director.errors import VerbError
from director.language import braces
from director.language.stars import bared, shielded
from director.language.substitution import render_word, used_names
from director.language.values import namespace

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
class Known:
    """Names with their texts (None: declared, but without a value); `--arg` beats the file."""

    overrides: Mapping[str, str]
    texts: dict[str, str | None] = field(default_factory=dict)

    def copy(self) -> Known:
        """An independent copy."""
        return Known(self.overrides, dict(self.texts))

    def declare(self, pairs: Iterable[Iterable[str | None]], escape: str = "\\") -> None:
        """Take over an ARG; a value that depends on the node makes its name unknown."""
        for pair in pairs:
            raw_name, raw = pair
            try:
                name = self.render(raw_name or "", escape)
                text = None if raw is None else self.render(raw, escape)
            except (ValueError, VerbError, NodeNeededError):
                self.forget(raw_name or "")
            else:
                self.texts[name] = text if text is not None else self.texts.get(name)

    def forget(self, name: str) -> None:
        """The name's value is not known any more, or not yet."""
        self.texts.pop(name, None)

    def value(self, name: str) -> str | None:
        """The text of a name."""
        return self.overrides[name] if name in self.overrides else self.texts.get(name)

    def render(
        self, raw: str, escape: str = "\\", quotes: bool = True, node: NodeFacts | None = None, shield: bool = False
    ) -> str:
        """One raw word with everything replaced.

        Args:
            quotes: take quotes and escapes away.
            node: whose `node` and `facts` may be used.
            shield: put `\\` before stars that come from values, so that they match themselves only.

        Raises:
            ValueError: a name that is not known, with what is; or what does not parse.
            NodeNeededError: `node` or `facts` is used, and `node` is None.
            VerbError: `${NAME:?text}`, or an expression that fails.
        """
        if "$" not in raw and not braces.present(raw):
            return raw if not quotes else render_word(raw, {}, lambda name: None, escape)
        self._check(used_names(raw, escape), node)
        texts = {name: text for name in {**self.texts, **self.overrides} if (text := self.value(name)) is not None}
        if shield:
            texts = {name: shielded(text) for name, text in texts.items()}
        of_node = {} if node is None else {"id": node.name, "labels": dict(node.labels)}
        names = namespace(texts, {} if node is None else node.facts, of_node, {})
        rendered = render_word(raw, names, texts.get, escape, quotes)
        return bared(rendered) if shield else rendered

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
