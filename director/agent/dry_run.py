"""What a plan would do on this node, found out without doing it (`--plan`).

The steps are gone through with a scope of their own: values are set as in a job, files are compared, digests are
looked up in the chains; nothing is run, written or remembered. What only a run can tell is UNKNOWN, and so is
what depends on it.
"""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ujson

from director import process
from director import states as st
from director.agent.executor import (
    GRACE,
    Executor,
    TaskNode,
    applied_mark,
    keep_output,
    load_own,
    mark_of,
    stage_key,
    task_token,
    values_of,
    without_actions,
)
from director.agent.job_runner import Step
from director.agent.step_cache import PARTS, CachedStep, difference
from director.errors import DirectorError, VerbError
from director.language.scope import Scope
from director.language.substitution import used_names
from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.verbs.base import Outcome, Verb

log = logging.getLogger(__name__)
_LOOKS = itertools.count(1)

BUDGET = 4.0  # seconds for one plan
AT_ONCE = 4  # plans; more are refused
TEXT_LIMIT = 4000  # characters of a step's text
REPLY_LIMIT = 2 * 1024 * 1024  # bytes of texts and diffs in one answer
UNKNOWN = "UNKNOWN"
RUN, CACHED = "run", "cached"
Decision = tuple[str, str, Outcome | None]


NOTHING = Outcome()  # of a step of which nothing is known yet
NO_VALUES: Mapping[str, str] = {}
COMPARES = "it compares with what is there, and only the run can tell"
SETS = f"{PARTS[-1]} changed"  # the difference that is none of the inputs


class NotHereError(VerbError):
    """A content that this node would have to fetch first."""


class DryRun:
    """Answers `foresee` messages.

    Args:
        remembered: the ARGs that this node remembers.
        send: queues a message for the server.
    """

    def __init__(
        self, executor: Executor, remembered: Callable[[], Mapping[str, str]], send: Callable[..., object]
    ) -> None:
        self._executor, self._remembered, self._send = executor, remembered, send
        self._open = 0

    def take(self, fields: dict[str, Any], *payload: bytes) -> None:
        """One question, answered by a greenlet of its own."""
        if self._open >= AT_ONCE:
            self._reply(fields["req"], "the node is asked by too many at once", b"[]")
        else:
            spawn("foresight", self._answer, fields, payload, vital=False)

    def _answer(self, fields: dict[str, Any], payload: Sequence[bytes]) -> None:
        self._open += 1
        try:
            with tempfile.TemporaryDirectory(prefix="director-plan-") as folder:
                contents = _unpack(folder, fields["contents"], payload[fields["chunks"] :])
                steps = [step for chunk in payload[: fields["chunks"]] for step in ujson.loads(chunk)]
                look = DryRunResult(self._executor, fields, dict(self._remembered()), contents)
                rows = look.rows(steps)
            more = {"sets": {name: look.sets[name] for name in fields["watch"] if name in look.sets}}
            self._reply(fields["req"], "", ujson.dumps(_bounded(rows)).encode(), **more)
        except Exception as error:
            log.exception("a plan could not be foreseen")
            self._reply(fields["req"], f"{type(error).__name__}: {error}"[:500], b"[]")
        finally:
            self._open -= 1

    def _reply(self, req: int, error: str, rows: bytes, sets: Mapping[str, Any] | None = None) -> None:
        self._send(messages.encode("dry_run_result", req=req, error=error, sets=sets or {}), rows)


class DryRunResult:
    """One plan on this node.

    Attributes:
        sets: name to text of the ARGs that the steps so far would set; None where only the run can tell.
    """

    def __init__(
        self, executor: Executor, fields: Mapping[str, Any], remembered: dict[str, str], contents: Mapping[str, str]
    ) -> None:
        self.executor, self.head, self.contents = executor, fields["head"], contents
        self.query: Mapping[str, Mapping[str, Any]] = fields["query"]
        self.sets: dict[str, str | None] = {}
        self.labels = dict(executor.labels)
        self.deadline = time.monotonic() + BUDGET
        self.unknown: dict[str, int] = {}  # names whose value only the run can tell, and the step that sets them
        self.waiting = False  # a step before would run, and may change what is here
        self._parts: list[tuple[int, int]] = [(int(a), int(b)) for a, b in fields["parts"]]
        self._scopes = Scopes(Scope(remembered=remembered, overrides=dict(self.head["options"].get("args", {}))))
        self._chains: dict[str, Glance] = {}

    def rows(self, steps: Iterable[Step]) -> list[list[Any]]:
        """`[step, action, reason, text, diff]` of each step of this node."""
        return [self._row(step) for step in steps if any(a <= step["i"] <= b for a, b in self._parts)]

    def _row(self, step: Step) -> list[Any]:
        if time.monotonic() > self.deadline:
            return [step["i"], "unknown", f"not found out within {BUDGET:g} s", "", ""]
        breathe()
        try:
            scope = self._scopes.of(step)
            node = PlanNode(self, scope, step)
            verb = load_own(step, node.blob) if "own" in step else self.executor.verb(step, node.blob)
        except (KeyError, DirectorError) as error:
            return [step["i"], "unknown", f"{step['verb']} cannot be looked at: {error}", "", ""]
        text = _shown(verb, step, node)
        action, reason, outcome = self._decide(verb, step, node)
        self._go_on(verb, step, action, outcome)
        diff = outcome.stderr.decode("utf-8", "replace") if outcome and verb.diffs else ""
        return [step["i"], action, reason, text, diff]

    # -- one step -----------------------------------------------------------------------------------------

    def _decide(self, verb: Verb, step: Step, node: PlanNode) -> Decision:
        chain = self._chain(step)
        missing = sorted(_used(verb, step) & self.unknown.keys())
        why = f"{missing[0]} is set by step {self.unknown[missing[0]]}" if missing else ""
        try:
            if chain is not None and verb.trusts_chain:
                return self._by_chain(verb, step, node, chain, why)
            if verb.gathers:
                return self._query(verb, step, node, chain)
            if _runs_each_time(verb) and (verb.always or chain is not None):
                return RUN, self._each_time(verb, step, node, chain, why), None
            if why:
                return (*_doubted(chain, verb, step, why), None)
            return self._by_looking(verb, step, node, chain)
        except NotHereError as error:
            return (*_doubted(chain, verb, step, str(error)), None)
        except (DirectorError, OSError) as error:
            text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            if self.waiting:
                return (*_doubted(chain, verb, step, f"as things are now it would fail: {text}"), None)
            if chain is not None:
                chain.breaks(step, "would fail")
            return RUN, f"would fail: {text}", None

    def _by_chain(self, verb: Verb, step: Step, node: PlanNode, chain: Glance, why: str) -> Decision:
        """A step that is cached when it is what ran last."""
        if why and not chain.broken:
            return (*_doubted(chain, verb, step, why), None)
        if "skip-cache" in step["flags"]:
            chain.passes()
            return RUN, "--skip-cache", self._outcome(verb, step, node, why)
        values = values_of(verb, step, node.scope, NOTHING)
        link, reason = chain.look(step, "" if chain.broken else mark_of(verb, step, node), values)
        if link is not None:
            return CACHED, f"unchanged since job {link.job}", Outcome(st.CACHED, effects=dict(link.effects))
        if chain.doubt:
            return "unknown", chain.doubt, None
        return RUN, reason, self._outcome(verb, step, node, why)

    def _outcome(self, verb: Verb, step: Step, node: PlanNode, why: str) -> Outcome | None:
        return self._foreseen(verb, step, node) if verb.pure and not why else None

    def _foreseen(self, verb: Verb, step: Step, node: PlanNode) -> Outcome | None:
        """What the verb says, with what its output sets."""
        outcome = verb.foresee(step["body"], step["flags"], node)  # type: ignore[arg-type]
        if outcome is not None:
            said = b"" if verb.diffs else outcome.stderr  # there it is the diff
            for flag, data in (("stdout-arg", outcome.stdout), ("stderr-arg", said)):
                if flag in step["flags"]:
                    keep_output(outcome, step["flags"][flag], data)
        return outcome

    def _each_time(self, verb: Verb, step: Step, node: PlanNode, chain: Glance | None, why: str) -> str:
        """Why a step runs whatever the chain says; what it sets, which is part of its mark, is not known."""
        if chain is not None and "skip-cache" in step["flags"]:
            chain.passes()
        elif chain is not None and why and not verb.always:
            _doubted(chain, verb, step, why)
        elif chain is not None:
            chain.look_at_inputs(step, applied_mark(verb, step, node, NOTHING))
        if verb.always:
            return "always applied: it runs each time"
        return f"{step['verb']} runs each time: it says neither that it compares nor that it trusts the chain"

    def _query(self, verb: Verb, step: Step, node: PlanNode, chain: Glance | None) -> Decision:
        name = node.word(step["body"]["name"])
        if any(value is None for value in self.query.get(name, {}).values()):
            self.unknown.setdefault("query", step["i"])
            if chain is not None:
                chain.doubts(f"only the run can tell {name}, which step {step['i']} asks for")
        outcome = verb.apply(step["body"], step["flags"], node)  # type: ignore[arg-type]
        self._compare(chain, verb, step, node, outcome)
        return RUN, "always applied: it asks each time", outcome

    def _compare(
        self, chain: Glance | None, verb: Verb, step: Step, node: PlanNode, outcome: Outcome
    ) -> tuple[CachedStep | None, str]:
        """The place in the chain of a step that is applied each time; with --skip-cache it changes nothing there."""
        if chain is None:
            return None, ""
        if "skip-cache" in step["flags"]:
            chain.passes()
            return None, "--skip-cache"
        values = values_of(verb, step, node.scope, outcome)
        return chain.look(step, applied_mark(verb, step, node, outcome), values)

    def _by_looking(self, verb: Verb, step: Step, node: PlanNode, chain: Glance | None) -> Decision:
        """A step that is compared, or whose effects are known at once."""
        outcome = self._foreseen(verb, self._without_done(verb, step, node, chain), node)
        if outcome is None:
            return (*_doubted(chain, verb, step, COMPARES), None) if verb.compares else (RUN, "", None)
        differs = outcome.state != st.CACHED
        if chain is None:
            return (RUN if differs else CACHED), outcome.reason, outcome
        if verb.compares and differs and "skip-cache" not in step["flags"]:
            chain.breaks(step, f"step {step['i']} changes")
            return RUN, outcome.reason or "what is there differs", outcome
        link, reason = self._compare(chain, verb, step, node, outcome)
        if not differs or link is not None:
            return CACHED, outcome.reason or "unchanged", outcome
        return RUN, reason, outcome

    def _without_done(self, verb: Verb, step: Step, node: PlanNode, chain: Glance | None) -> Step:
        """The step without the actions that would not be done again."""
        if chain is None or not verb.actions & step["flags"].keys() or "skip-cache" in step["flags"]:
            return step
        return without_actions(verb, step) if chain.holds(mark_of(verb, step, node)) else step

    def _go_on(self, verb: Verb, step: Step, action: str, outcome: Outcome | None) -> None:
        """Values as they are behind the step."""
        if outcome is not None:
            effects = outcome.effects
            self._scopes.apply(step, effects)
            self.labels.update({name: text for name, text in effects.get("labels", {}).items() if text is not None})
            self.sets.update(effects.get("arg", {}))
            for name in effects.get("arg", {}):
                self.unknown.pop(name, None)
        else:
            for name in (step["flags"][f] for f in ("stdout-arg", "stderr-arg") if f in step["flags"]):
                self._scopes.apply(step, {"arg": {name: UNKNOWN}, "declare": [name], "output": [name]})
                self.unknown[name] = step["i"]
                self.sets[name] = None
        only_looks = verb.always and not verb.pure and not verb.compares
        self.waiting = self.waiting or (action != CACHED and not only_looks)

    def _chain(self, step: Step) -> Glance | None:
        if self.head["kind"] != "orchestrate":
            return None
        key = stage_key(self.head, step)
        if key not in self._chains:
            glance = self._chains[key] = Glance(self.executor.chains.links(self.head["name"], key))
            if self.head["options"].get("no_cache"):
                glance.broken = "--no-cache"
        return self._chains[key]


class Glance:
    """A chain of what ran last, gone along without changing it.

    Attributes:
        broken: why nothing behind is cached any more, "" while all is as it was.
        doubt: why nobody knows whether it is.
    """

    def __init__(self, links: list[CachedStep]) -> None:
        self.broken = ""
        self.doubt = ""
        self._links = links
        self._place = 0

    def holds(self, mark: str) -> bool:
        """Whether the next step, which has this mark, and all before it are what ran last.

        Raises NotHereError when nobody knows.
        """
        if self.doubt and not self.broken:
            raise NotHereError(self.doubt)
        return not self.broken and self._place < len(self._links) and self._links[self._place].digest == mark

    def look_at_inputs(self, step: Step, mark: str) -> None:
        """Go past a step of which it is not known what it sets: if that may differ, nobody knows from here on."""
        here = self._links[self._place :][:1]
        if here and here[0].digest != mark and difference(here[0], mark, here[0].values) == SETS:
            self.doubts(f"only the run can tell what step {step['i']} before it sets")
        self.look(step, mark)

    def look(self, step: Step, mark: str, values: Mapping[str, str] = NO_VALUES) -> tuple[CachedStep | None, str]:
        """What the step was when it last ran, and else why it is not the same."""
        place, self._place = self._place, self._place + 1
        if self.broken:
            return None, self.broken
        if self.doubt:
            return None, self.doubt
        if place < len(self._links) and self._links[place].digest == mark:
            return self._links[place], ""
        new = place >= len(self._links)
        reason = "it has not run here before" if new else difference(self._links[place], mark, values)
        self.broken = f"step {step['i']} before it runs" if new else f"step {step['i']} before it changed"
        return None, reason

    def passes(self) -> None:
        """A step that runs whatever it was, and leaves the others alone."""
        self._place += 1

    def breaks(self, step: Step, why: str) -> None:
        """The step is another one than it was."""
        self._place += 1
        self.broken = self.broken or f"{why} before it" if not why.startswith("would") else f"step {step['i']} {why}"

    def doubts(self, why: str) -> None:
        """From here on nobody knows."""
        self.doubt = self.doubt or why


class Scopes:
    """The values of a job's stages and lanes, in the order of its steps; as `agent.holding` keeps them."""

    def __init__(self, scope: Scope) -> None:
        self._main = scope
        self._stage = -1
        self._ends: dict[int, dict[str, Any]] = {}
        self._lanes: dict[tuple[int, int], tuple[Scope, int, list[Mapping[str, Any]]]] = {}

    def of(self, step: Step) -> Scope:
        """The values the step sees."""
        key = (step.get("group", 0), step.get("lane", 0))
        if not key[1] or any(group != key[0] for group, _ in self._lanes):
            self._join()
        if not key[1]:
            if step["stage"] != self._stage:
                self._leave()
                self._stage = step["stage"]
                self._main.apply(self._ends.get(step.get("inherit", -1), {}))
            return self._main
        if key not in self._lanes:
            self._leave()
            scope = self._main.copy()
            scope.apply(self._ends.get(step.get("inherit", -1), {}))
            self._lanes[key] = (scope, step["stage"], [])
        return self._lanes[key][0]

    def apply(self, step: Step, effects: Mapping[str, Any]) -> None:
        """What the step sets."""
        key = (step.get("group", 0), step.get("lane", 0))
        scope, _, kept = self._lanes.get(key, (self._main, 0, []))
        scope.apply(effects)
        kept.append(effects)

    def _leave(self) -> None:
        if self._stage >= 0:
            self._ends[self._stage] = self._main.place()
            self._main.end_stage()
        self._stage = -1

    def _join(self) -> None:
        lanes, self._lanes = sorted(self._lanes.items()), {}
        for _, (scope, stage, kept) in lanes:
            self._ends[stage] = scope.place()
            for effects in kept:
                self._main.apply({k: v for k, v in effects.items() if k not in ("user", "workdir", "shell")})


class PlanNode(TaskNode):
    """A node on which nothing can be done."""

    __slots__ = ("_look",)

    def __init__(self, look: DryRunResult, scope: Scope, step: Step) -> None:
        nothing: Any = None
        super().__init__(look.executor, nothing, nothing, scope, step, nothing, BUDGET)
        self._look = look

    @property
    def job(self) -> str:
        """There is none."""
        return ""

    @property
    def labels(self) -> Mapping[str, str]:
        """With those that the plan has set."""
        return self._look.labels

    def run(self, argv: list[str], **options: Any) -> Outcome:
        """A program that only reads, as the client's own user; no other in a plan."""
        if not options.get("looks"):
            raise NotHereError("only a run can tell")
        env = {os.fsencode(name): os.fsencode(text) for name, text in (options.get("env") or {}).items()}
        left = max(0.001, self._look.deadline - time.monotonic())
        token = task_token(self._executor.place, "plan", f"{next(_LOOKS)}", self._step["i"])
        spec = process.Spec(
            argv, {**self._executor.base, **env}, options.get("cwd") or "/", timeout=left, grace=GRACE, token=token
        )
        result = process.run(spec)
        if result.timed_out:
            raise NotHereError(f"not found out within {BUDGET:g} s")
        return self._outcome(result, left)

    def blob(self, digest: str, size: int) -> str:
        """A content that came with the question, or is here from earlier jobs."""
        if digest in self._look.contents:
            return self._look.contents[digest]
        path = self._look.executor.fetcher.blobs.path(digest)
        if not os.path.exists(path):
            raise NotHereError("its files are too large to be looked at before they are here")
        return path

    def breathe(self) -> None:
        """Let others work, within the time that a plan may take."""
        breathe()
        if time.monotonic() > self._look.deadline:
            raise NotHereError(f"not found out within {BUDGET:g} s")

    def sleep(self, seconds: float) -> None:
        """Not in a plan."""
        raise NotHereError("only a run can tell")

    def exclusive(self, name: str) -> Any:
        """Not in a plan."""
        raise NotHereError("only a run can tell")

    def query(self, name: str) -> dict[str, dict[str, Any]]:
        """What the server knows now."""
        found = self._look.query.get(name, {})
        return {node: {name: UNKNOWN if value is None else value} for node, value in found.items()}

    def reboot(self, delay: float) -> Outcome:
        """Not in a plan."""
        raise NotHereError("only a run can tell")

    def offer(self, patterns: list[str]) -> Any:
        """Not in a plan."""
        raise NotHereError("only a run can tell")

    def borrow(self, number: int) -> Any:
        """Not in a plan."""
        raise NotHereError("only a run reads the files of another node")


def _runs_each_time(verb: Verb) -> bool:
    """Whether a step of the verb is never cached: it runs, and only then knows what it sets."""
    return not (verb.trusts_chain or verb.compares or verb.pure)


def _doubted(chain: Glance | None, verb: Verb, step: Step, why: str) -> tuple[str, str]:
    """A step of which nobody knows; it takes its place in the chain."""
    if chain is not None:
        if chain.broken and not verb.compares:
            return RUN, chain.look(step, "")[1]
        if "skip-cache" in step["flags"]:
            chain.passes()
            return "unknown", why
        chain.doubts(f"step {step['i']} before it: {why}")
        chain.look(step, "")
    return "unknown", why


def _used(verb: Verb, step: Step) -> set[str]:
    """Names that the step's texts use."""
    if step["flags"].get("raw"):
        return set()
    found: set[str] = set()
    for kind, raw in verb.raws(step["body"]):
        try:
            found |= used_names(raw, step["body"].get("escape", "\\"))
        except ValueError:
            found |= used_names(raw, dollars=False) if kind == "text" else set()
    return found


def _shown(verb: Verb, step: Step, node: TaskNode) -> str:
    """The step's text as rendered here; "" where it is as written or cannot be rendered yet."""
    text: str = step["text"]
    for kind, raw in verb.raws(step["body"]):
        if raw and raw in text and ("{" in raw or (kind != "text" and "$" in raw)):
            try:
                text = text.replace(raw, node.render(raw, kind), 1)
            except (DirectorError, ValueError):
                return ""
    return text[:TEXT_LIMIT] if text != step["text"] else ""


def _unpack(folder: str, digests: list[str], contents: Sequence[bytes]) -> dict[str, str]:
    """The contents that came with a question, as files; names are their places in the list."""
    paths = {}
    for number, (digest, data) in enumerate(zip(digests, contents, strict=False)):
        path = paths[digest] = os.path.join(folder, str(number))
        with open(path, "wb") as file:
            file.write(data)
    return paths


def _bounded(rows: list[list[Any]]) -> list[list[Any]]:
    """Texts and diffs as far as the answer has room for them."""
    left = REPLY_LIMIT
    for row in rows:
        left -= len(row[3]) + len(row[4])
        if left < 0:
            row[3] = row[4] = ""
    return rows
