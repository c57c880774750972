"""The secrets of one job on this node: in memory until the job has ended here, and masked in all that leaves a step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from director import states as st
from director.errors import VerbError
from director.language.scope import Scope
from director.process.masking import LEAST, MASK, hide, hide_stream, longest_first, patterns_of
from director.protocol.sealing import Ranges, covers
from director.verbs.base import Outcome

Step = dict[str, Any]
OUTPUT_FLAGS = ("stdout-arg", "stderr-arg")


class JobSecrets:
    """The values of one job.

    Attributes:
        used: a step so far uses a secret that the submitter gave.
        opened: what was sealed for this node was fetched.
        patterns: what is masked, the longest first.
    """

    def __init__(self) -> None:
        self.used = self.opened = False
        self.patterns: list[bytes] = []
        self._values: dict[str, tuple[bytes, Ranges]] = {}

    def give(self, values: Mapping[str, tuple[bytes, Ranges]]) -> None:
        """Take what was sealed for this node: values, and the steps that may use each."""
        self.opened = True
        self._values.update(values)
        for value, _ in values.values():
            self._mask(value)

    def value(self, name: str, step: int) -> bytes:
        """A value for a step. Raises VerbError: the step was not given it."""
        value, ranges = self._values.get(name, (b"", ()))
        if not covers(ranges, step):
            raise VerbError(f"the secret {name} was not given to this step")
        return value

    def hide(self, text: str) -> str:
        """The text with the values masked."""
        if not self.patterns:
            return text
        return hide(text.encode("utf-8", "surrogateescape"), self.patterns).decode("utf-8", "surrogateescape")

    def is_in(self, text: str | bytes) -> bool:
        """Whether a text has one of the values."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        return any(pattern in data for pattern in self.patterns)

    def withhold(self, outcome: Outcome, step: Step, scope: Scope) -> None:
        """Take what is secret out of an outcome: into `private`, or masked. The outcome may be kept and sent then."""
        secret = scope.secret
        if not (self.patterns or secret):
            return
        found: dict[str, str] = {}
        for kind in ("arg", "env"):
            values = outcome.effects.get(kind, {}).items()
            found.update((name, text) for name, text in values if name in secret or self._is_within(text))
        for name, text in found.items():
            self._keep(outcome, name, text)
        if found:
            outcome.effects = _public(outcome.effects, found)
        self._mask_outputs(outcome, step, secret)
        if self._is_within(outcome.effects):
            outcome.effects = {}
            if outcome.state in st.GOOD:
                outcome.state = st.FAILED
                outcome.reason = "a value that it sets has a secret, and would be kept; only ARG and ENV may have one"

    def _keep(self, outcome: Outcome, name: str, text: str) -> None:
        """A value that stays in memory, and is masked from now on; no step gets one that cannot be masked."""
        value = text.encode("utf-8", "surrogateescape")
        if len(value.strip()) >= LEAST:
            outcome.private[name] = text
            self._mask(value)
        elif outcome.state in st.GOOD:
            outcome.state = st.FAILED
            outcome.reason = f"the value of {name} is shorter than {LEAST} bytes, which cannot be masked in outputs"

    def _mask_outputs(self, outcome: Outcome, step: Step, secret: set[str]) -> None:
        names = [step["flags"].get(flag) for flag in OUTPUT_FLAGS]
        outcome.stdout, outcome.stderr = (
            (MASK if data and name in secret else hide_stream(data, self.patterns))
            for name, data in zip(names, (outcome.stdout, outcome.stderr), strict=True)
        )
        outcome.reason = self.hide(outcome.reason)

    def _mask(self, value: bytes) -> None:
        self.patterns = longest_first([*self.patterns, *patterns_of(value)])

    def _is_within(self, value: Any) -> bool:
        if isinstance(value, dict):
            return any(self._is_within(part) for pair in value.items() for part in pair)
        if isinstance(value, list):
            return any(map(self._is_within, value))
        return isinstance(value, str) and self.is_in(value)


def _public(effects: Mapping[str, Any], private: Collection[str]) -> dict[str, Any]:
    """The effects without the values of these names, but with the names."""
    public = dict(effects)
    for kind in ("arg", "env"):
        if kind in public:
            public[kind] = {name: text for name, text in public[kind].items() if name not in private}
    for kind in ("quoted", "relayed"):
        if kind in public:
            public[kind] = [name for name in public[kind] if name not in private]
    public["withheld"] = sorted({*public.get("withheld", ()), *private})
    return {kind: value for kind, value in public.items() if value}
