"""Resolves the nodes of each stage of a text, from FROM, `targets`, `--platform` and `--target`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from director.errors import LanguageError, NoTargetError, NotPermittedError, UsageError, VerbError
from director.language import braces
from director.language.instructions import Document, Stage
from director.node_sets import fold, natural
from director.planning.context import Context, NodeNeededError
from director.planning.plan import PlannedStage
from director.targets import (
    Resolved,
    RosterView,
    TargetSyntaxError,
    Within,
    explain,
    is_spelled_out,
    looks_like_image,
    parse,
    resolve,
)
from director.targets.expressions import And, Or, chosen_by_facts
from director.verbs.values import platform_of

REASONS = 20  # groups of nodes with a reason, for each stage
_PLAIN = ("is not ", "not one of ", "does not match ")  # reasons of nodes by other names, which need no explanation
_DOLLAR = re.compile(r"\$(?:[A-Za-z_]|\{)")


@contextmanager
def located(file: str, line: int) -> Iterator[None]:
    """Add file and line to errors of the block: a ValueError or VerbError becomes a LanguageError."""
    try:
        yield
    except (ValueError, VerbError) as error:
        raise LanguageError(str(error), file, line) from None
    except NoTargetError as error:
        raise NoTargetError(f"{file}:{line}: {error}", line) from None
    except NotPermittedError as error:
        raise NotPermittedError(f"{file}:{line}: {error}") from None


class Stages:
    """Resolves one stage after another; later ones may name earlier ones.

    Args:
        targets: `--target` as given; narrows the stages, and is the target of those without one.
        context: the values for `$X` and braces in FROM.

    Raises:
        UsageError: `--target` cannot be read.
        NoTargetError: `--target` selects nothing.
    """

    def __init__(self, document: Document, roster: RosterView, targets: Sequence[str], context: Context) -> None:
        self.notes: list[str] = []
        self.planned: list[PlannedStage] = []
        self._file = document.file
        self._roster = roster
        self._context = context
        self._by_name: dict[str, list[str]] = {}
        self._allowed = self._resolve_option(targets) if targets else None
        self._online: list[str] | None = None
        self._targets = targets
        self._written: list[tuple[PlannedStage, list[str], int]] = []

    def add(self, stage: Stage) -> PlannedStage | None:
        """The stage with its nodes; None when `--target` leaves it none.

        Raises:
            LanguageError, NoTargetError: with the line of the stage.
        """
        try:
            resolved, parent = self._resolve_stage(stage)
        except (LanguageError, NoTargetError):
            if stage.name:
                self._by_name[stage.name] = []  # a later stage that names this one is not a second error
            raise
        nodes = resolved.nodes
        if self._allowed is not None and stage.targets:
            allowed = set(self._allowed.nodes)
            nodes = [name for name in nodes if name in allowed]
        if stage.name:
            self._by_name[stage.name] = nodes
        if not nodes:
            called = stage.name or " ".join(stage.targets)
            self.notes.append(f"{self._file}:{stage.line}: the stage {called!r} has no nodes left and is dropped")
            return None
        planned = PlannedStage(len(self.planned), stage.name, nodes, resolved.unmatched, parent)
        self._written.append((planned, [self._rendered(text) for text in stage.targets], stage.line))
        self.planned.append(planned)
        return planned

    def nodes_of(self, expression: str) -> list[str]:
        """The nodes of an expression or an earlier stage. Raises NoTargetError, TargetSyntaxError."""
        return resolve([expression], self._roster, self._by_name).nodes

    def explain(self) -> None:
        """Add to each stage's `unmatched` the nodes that its targets come close to: `NODES: reason`."""
        for planned, expressions, _ in self._written:
            reasons: dict[str, list[str]] = {}
            for name, reason in self._missed(planned, expressions):
                reasons.setdefault(reason, []).append(name)
            lines = [f"{fold(names)}: {reason}" for reason, names in reasons.items()]
            planned.unmatched = [*planned.unmatched, *lines[:REASONS]]

    def chosen_by_facts(self) -> Iterator[str]:
        """A warning for each stage whose nodes are chosen by what they say of themselves."""
        for _, line in self._chosen_by_facts():
            yield (
                f"{self._file}:{line}: the nodes here are chosen by facts, which a node says of itself; "
                "labels and names are the server's"
            )

    def check_secrets(self, using: Collection[int]) -> None:
        """Raise LanguageError when a node could choose itself for one of these stages, which use secrets."""
        for planned, line in self._chosen_by_facts() if using else ():
            if planned.index in using:
                raise LanguageError(
                    "the nodes here are chosen by facts, which a node says of itself, so any could have the secrets; "
                    "expected names or labels, which facts may narrow: label:tier=db and fact:os.id=debian",
                    self._file, line,
                )  # fmt: skip

    def _chosen_by_facts(self) -> Iterator[tuple[PlannedStage, int]]:
        chosen: set[str] = set()
        for planned, expressions, line in self._written:
            texts = [alternatives for alternatives in (expressions, self._targets) if alternatives]
            parts = tuple(Or("", tuple(map(parse, alternatives))) for alternatives in texts)
            if chosen_by_facts(parts[0] if len(parts) == 1 else And("", parts), chosen):
                chosen.update(filter(None, [planned.name]))
                yield planned, line

    def _missed(self, planned: PlannedStage, expressions: list[str]) -> Iterator[tuple[str, str]]:
        """Nodes that are not in the stage, each with the first reason that is not in `_PLAIN`."""
        inside = set(planned.nodes)
        found = [explain(text, self._roster, self._by_name) for text in expressions or ["all"]]
        for name in natural([name for name in self._roster.names() if name not in inside]):
            reasons = [why.get(name, "") for why in found]
            shown = [reason for reason in reasons if reason and not reason.startswith(_PLAIN)]
            if shown:
                yield name, shown[0]
            elif not all(reasons):
                yield name, "left out by --target or --platform"

    def _resolve_option(self, targets: Sequence[str]) -> Resolved:
        try:
            return resolve(targets, self._roster)
        except TargetSyntaxError as error:
            raise UsageError(f"--target: {error}") from None

    def _resolve_stage(self, stage: Stage) -> tuple[Resolved, int]:
        if not stage.targets:
            self._remark(self._targets or ["all"])
            return self._allowed or self._everyone(), -1
        with located(self._file, stage.line):
            expressions = [self._rendered(text) for text in stage.targets]
            for bare in map(str.strip, expressions):
                if bare not in self._by_name and not self._roster.has(bare) and looks_like_image(bare):
                    raise ValueError(f"FROM takes target nodes; {bare} looks like an image")
            resolved = resolve(expressions, self._roster, self._by_name)
            self._remark(expressions)
            if stage.platform:
                resolved = self._on_platform(resolved, self._rendered(stage.platform).lower())
        names = [text.strip() for text in expressions]
        return resolved, next((earlier.index for earlier in reversed(self.planned) if [earlier.name] == names), -1)

    def _remark(self, expressions: Sequence[str]) -> None:
        """Note that these mean fewer nodes to this submitter, unless they only spell out names."""
        if isinstance(self._roster, Within) and not all(map(is_spelled_out, expressions)):
            self.notes.append(self._roster.remark)

    def _rendered(self, text: str) -> str:
        if not braces.present(text) and not _DOLLAR.search(text):
            return text
        try:
            return self._context.render(text, quotes=False)
        except NodeNeededError:
            wrong = "FROM cannot use node or facts, as it selects the nodes; expected fact:NAME=VALUE"
            raise ValueError(wrong) from None

    def _everyone(self) -> Resolved:
        if self._online is None:
            self._online = natural(filter(self._roster.online, self._roster.names()))
        if not self._online:
            raise NoTargetError("no node is online; name nodes with --target or FROM to have them wait for delivery")
        return Resolved(list(self._online))

    def _on_platform(self, resolved: Resolved, wanted: str) -> Resolved:
        nodes = [name for name in resolved.nodes if _fits(wanted, self._roster.facts(name))]
        if not nodes:
            raise NoTargetError(f"--platform={wanted} matches none of the stage's {len(resolved.nodes)} nodes")
        return Resolved(nodes, resolved.unmatched)


def _fits(wanted: str, facts: Mapping[str, Any]) -> bool:
    if not facts.get("arch"):
        return False
    platform = platform_of(facts)
    system, arch = platform["TARGETOS"], platform["TARGETARCH"]
    return wanted in (platform["TARGETPLATFORM"], f"{system}/{arch}", system)


def lanes(stages: Sequence[tuple[Stage, PlannedStage]]) -> None:
    """Number the async entries: consecutive ones share a group, each is a lane of it."""
    group, lane = 0, 0
    for stage, planned in stages:
        if not stage.asynchronous:
            lane = 0
            continue
        if not lane:
            group += 1
        lane += 1
        planned.group, planned.lane = group, lane
