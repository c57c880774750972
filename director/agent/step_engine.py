"""Takes one step of an orchestration file through the step cache, in a job and in a dry run (DSL.md section 6)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from director import states as st
from director.agent.job_runner import Step
from director.agent.local_node import LocalNode
from director.agent.step_cache import CachedStep, StageCache, effects_fingerprint, fingerprint, shown_values
from director.language.origin import Relayed
from director.language.scope import Scope, is_proxy
from director.verbs.base import Outcome, Verb

_VALUE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_WORD = re.compile(r"\w+")
_OF_OUTPUT = frozenset(("arg", "declare", "output", "relayed"))  # effects of `--stdout-arg` and `--stderr-arg`
NOTHING = Outcome()  # of a step that has not run

Attempt = Callable[[Step], Outcome | None]


def take_step(
    verb: Verb, step: Step, node: LocalNode, cache: StageCache, attempt: Attempt
) -> tuple[Outcome | None, str]:
    """Find the step in the cache, or attempt it and record it.

    A step with `--skip-cache` is recorded, and leaves the steps after it alone whatever it changes. The caller cuts the
    cache when the outcome is not good.

    Args:
        cache: of the step's stage; it has entered the step.
        attempt: applies the step; None where a dry run cannot know the outcome.

    Returns:
        What the attempt returned, or the cached outcome; and for a dry run why the step is not cached.

    Raises:
        DirectorError: a text of the step cannot be rendered.
    """
    skips = bool(step["flags"].get("skip-cache")) or _makes_secret(step, node.scope)
    made, found, reason = "", None, "--skip-cache"
    if verb.trusts_chain or verb.actions & step["flags"].keys():
        made = fingerprint_of(verb, step, node)
        if not skips:
            found, reason = cache.find(made, values_of(verb, step, node.scope, NOTHING))
        if found is not None and verb.trusts_chain:
            return Outcome(st.CACHED, reason=f"unchanged since job {found.job}", effects=dict(found.effects)), ""
    outcome = attempt(step if found is None else _without_actions(verb, step))
    if outcome is None or outcome.state not in st.GOOD:
        return outcome, reason
    values, effects = values_of(verb, step, node.scope, outcome), {}
    if verb.trusts_chain:
        effects = {name: value for name, value in outcome.effects.items() if name in _OF_OUTPUT}
    else:
        made = made or applied_fingerprint(verb, step, node, outcome)
        if not skips:
            reason = _compare(verb, step, outcome, cache, made, values)
    cache.record(CachedStep(made, effects, time.time(), node.job, values))
    return outcome, reason


def _makes_secret(step: Step, scope: Scope) -> bool:
    """Whether the step's output becomes a secret ARG: no cache has its value, so it runs each time."""
    return any(step["flags"].get(flag) in scope.secret for flag in ("stdout-arg", "stderr-arg"))


def _compare(verb: Verb, step: Step, outcome: Outcome, cache: StageCache, made: str, values: dict[str, str]) -> str:
    """Decide whether a step that was applied changed anything for the steps after it; returns what is another now."""
    if verb.compares and outcome.state != st.CACHED:
        cache.cut(f"step {step['i'] + 1} changes before it")
        return outcome.reason or "what is there differs"
    found, reason = cache.find(made, values)
    if found is not None and verb.pure:
        outcome.state, outcome.reason = st.CACHED, outcome.reason or "unchanged"
    return reason


def fingerprint_of(verb: Verb, step: Step, node: LocalNode, *more: Any) -> str:
    """The step as rendered on this node with its inputs, and with what `more` counts."""
    scope = node.scope
    # without secrets: who has the cache could else find out short ones
    rendered = [node.hide(node.render(raw, kind)) for kind, raw in verb.raws(step["body"])]
    values = _environment_of(scope, rendered) if verb.command else {}
    body = {**step["body"], "own": step["own"][0]} if "own" in step else step["body"]
    inputs = (rendered, scope.user, scope.workdir, scope.shell, values, *more)
    return fingerprint(step["verb"], step["flags"], body, *inputs)


def applied_fingerprint(verb: Verb, step: Step, node: LocalNode, outcome: Outcome) -> str:
    """The fingerprint of a step that is applied each time: what it set, or its inputs, or both."""
    if verb.always:
        return effects_fingerprint(step["verb"], outcome.effects)
    return fingerprint_of(verb, step, node, *(() if verb.compares else (outcome.effects,)))


def _without_actions(verb: Verb, step: Step) -> Step:
    """The step with its actions given as False: they were done when it ran last."""
    flags = step["flags"]
    return {**step, "flags": {**flags, **dict.fromkeys(verb.actions & flags.keys(), False)}}


def values_of(verb: Verb, step: Step, scope: Scope, outcome: Outcome) -> dict[str, str]:
    """What the step set, or which values of `--arg` it uses, as `CachedStep.values`."""
    if verb.always:
        effects = outcome.effects
        return {**shown_values("ARG", effects.get("arg", {})), **shown_values("ENV", effects.get("env", {}))}
    if not scope.overrides:
        return {}
    text = "\n".join(raw for _, raw in verb.raws(step["body"]))
    return shown_values("ARG", {name: value for name, value in scope.overrides.items() if name in text})


def _environment_of(scope: Scope, rendered: Sequence[str]) -> dict[str, str]:
    """ARGs and ENVs that a RUN sees; one that a step's output set counts only where the command names it."""
    texts = {name: text for name, text in scope.dollars().items() if not is_proxy(name) and name not in scope.secret}
    seen = _VALUE.findall("\n".join(rendered)) if scope.outputs else ()
    return {name: text for name, text in texts.items() if name not in scope.outputs or name in seen}


def keep_values(outcome: Outcome, step: Step, node: LocalNode, stderr: bytes | None = None) -> None:
    """Set an ARG of the job to the output (`--stdout-arg`, `--stderr-arg`), and note which values are relayed.

    Args:
        stderr: the standard error to keep; None for that of the outcome.
    """
    named = [step["flags"].get("stdout-arg"), step["flags"].get("stderr-arg")]
    for name, data in zip(named, (outcome.stdout, outcome.stderr if stderr is None else stderr), strict=True):
        if name:
            effects = outcome.effects
            outcome.effects = {
                **effects,
                "arg": {**effects.get("arg", {}), name: data.decode("utf-8", "replace").strip()},
                "declare": [*effects.get("declare", ()), name],
                "output": [*effects.get("output", ()), name],
            }
    if relayed := _relayed(outcome.effects, step, node, any(named)):
        outcome.effects = {**outcome.effects, "relayed": relayed}


def _relayed(effects: Mapping[str, Any], step: Step, node: LocalNode, keeps_output: bool) -> list[str]:
    """The names of the ARGs and ENVs that the step sets to what other nodes said, or to something made of it.

    The environment of a process has such values too, so its output counts when the step mentions one by name. An own
    verb has the whole scope at hand.
    """
    texts = {**effects.get("env", {}), **effects.get("arg", {})}
    if not texts:
        return []
    mentioned = _WORD.findall(str(step["body"])) if keeps_output else ()
    if "own" in step and node.scope.query:
        node.hear()
    if node.relays(node.scope.texts() if "own" in step else mentioned):
        return list(texts)
    return [name for name, text in texts.items() if isinstance(text, Relayed)]
