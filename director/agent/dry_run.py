"""The node's side of a dry run (`--plan`): finds what each step would do here without doing it.

Values are set as in a job, files are compared, fingerprints are looked up in the step cache; nothing is run, written
or remembered. What only a run can tell is UNKNOWN, and so is what depends on it.
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
from director.agent.executor import Executor
from director.agent.job_runner import JobScopes, Step
from director.agent.local_node import LocalNode
from director.agent.step_cache import SETS, StageCache, difference
from director.agent.step_engine import NOTHING, applied_fingerprint, keep_values, take_step
from director.agent.task_process import GRACE, outcome_of, task_token
from director.errors import DirectorError, RefusedError, VerbError
from director.language.scope import Scope
from director.language.substitution import used_names
from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.verbs.base import Outcome, Verb

log = logging.getLogger(__name__)
_PROGRAMS = itertools.count(1)

BUDGET = 4.0  # seconds for one dry run
AT_ONCE = 4  # dry runs; more are refused
TEXT_LIMIT = 4000  # characters of a step's text
REPLY_LIMIT = 2 * 1024 * 1024  # characters of texts and diffs in one answer
UNKNOWN = "UNKNOWN"
RUN, CACHED, UNSURE = "run", "cached", "unknown"  # actions
LATE = f"not found out within {BUDGET:g} s"
ALWAYS = "always applied: it runs each time"
Decision = tuple[str, str, Outcome | None]  # action, reason, outcome where it is known


class UnknownError(VerbError):
    """Only a run can tell."""


class DryRun:
    """Answers `dry_run` messages.

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
        """Answer a message in a greenlet of its own."""
        if self._open >= AT_ONCE:
            self._reply(fields["req"], "the node is asked by too many at once")
        else:
            spawn("dry run", self._answer, fields, payload, vital=False)

    def _answer(self, fields: dict[str, Any], payload: Sequence[bytes]) -> None:
        self._open += 1
        try:
            with tempfile.TemporaryDirectory(prefix="director-plan-") as folder:
                contents = _unpack(folder, fields["contents"], payload[1:])
                steps = ujson.loads(payload[0])
                result = DryRunResult(self._executor, fields, dict(self._remembered()), contents)
                rows = result.rows(steps)
            sets = {name: result.sets[name] for name in fields["watch"] if name in result.sets}
            self._reply(fields["req"], "", ujson.dumps(_bounded(rows)).encode(), sets)
        except Exception as error:
            log.exception("a dry run failed")
            self._reply(fields["req"], f"{type(error).__name__}: {error}"[:500])
        finally:
            self._open -= 1

    def _reply(self, req: int, error: str, rows: bytes = b"[]", sets: Mapping[str, Any] | None = None) -> None:
        self._send(messages.encode("dry_run_result", req=req, error=error, sets=sets or {}), rows)


class DryRunResult:
    """What the steps of one plan would do on this node.

    Args:
        fields: of the `dry_run` message.
        remembered: the ARGs that this node remembers.
        contents: the paths of the contents that came with the message, by sha256.

    Attributes:
        sets: name to text of the ARGs that the steps so far would set; None where only a run can tell.
        values: what QUERY finds: name to node to value; None where only a run can tell.
    """

    def __init__(
        self, executor: Executor, fields: Mapping[str, Any], remembered: dict[str, str], contents: Mapping[str, str]
    ) -> None:
        self.executor, self.contents = executor, contents
        self.values: Mapping[str, Mapping[str, Any]] = fields["query"]
        self.sets: dict[str, str | None] = {}
        self.deadline = time.monotonic() + BUDGET
        self._head, self._ranges = fields["head"], fields["parts"]
        self._unknown: dict[str, int] = {}  # names whose value only a run can tell, with the step that sets them
        self._changes = False  # a step so far would run and may change what a later one finds
        scope = Scope(remembered=remembered, overrides=dict(self._head["options"].get("args", {})))
        self._scopes = JobScopes(scope)
        self._caches: dict[int, StageCache] = {}

    def rows(self, steps: Iterable[Step]) -> list[list[Any]]:
        """`[step, action, reason, text, diff]` of each step of this node; "" for a text that is as written."""
        return [self._row(step) for step in steps if any(first <= step["i"] <= last for first, last in self._ranges)]

    def _row(self, step: Step) -> list[Any]:
        if time.monotonic() > self.deadline:
            return [step["i"], UNSURE, LATE, "", ""]
        breathe()
        scope, cache = self._scopes.enter(step), self._cache(step)
        node = DryRunNode(self, scope, step)
        try:
            verb = self.executor.verb(step, node.blob)
        except RefusedError as error:
            return [step["i"], *self._failed(step, cache, f"would fail: {error}")[:2], "", ""]
        except (KeyError, DirectorError) as error:
            return [step["i"], UNSURE, f"{step['verb']} cannot be looked at: {error}", "", ""]
        text = _shown(verb, step, node)
        action, reason, outcome = self._decide(verb, step, node, cache)
        self._apply(step, scope, outcome)
        only_looks = verb.always and not verb.pure and not verb.compares
        self._changes = self._changes or (action != CACHED and not only_looks)
        diff = outcome.stderr.decode("utf-8", "replace") if outcome and verb.diffs else ""
        return [step["i"], action, reason, text, diff]

    def _decide(self, verb: Verb, step: Step, node: DryRunNode, cache: StageCache | None) -> Decision:
        def attempt(step: Step) -> Outcome | None:
            return self._attempt(verb, step, node, cache)

        try:
            if not (verb.always and _runs_each_time(verb)):
                self._check_names(verb, step)
            if cache is not None:
                outcome, reason = take_step(verb, step, node, cache, attempt)
            else:
                outcome = attempt(step)
                reason = outcome.reason if outcome else ""
        except UnknownError as error:
            return self._unsure(verb, step, cache, str(error))
        except RefusedError as error:
            return self._failed(step, cache, f"would fail: {error}")
        except (DirectorError, OSError) as error:
            text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            if self._changes:
                return self._unsure(verb, step, cache, f"as things are now it would fail: {text}")
            return self._failed(step, cache, f"would fail: {text}")
        if outcome is not None and outcome.state not in st.GOOD:
            return self._failed(step, cache, outcome.reason)
        if outcome is not None and outcome.state == st.CACHED:
            return CACHED, outcome.reason or "unchanged", outcome
        if _runs_each_time(verb):
            return RUN, _why_each_time(verb, cache), outcome
        return UNSURE if cache and cache.doubt and reason == cache.doubt else RUN, reason, outcome

    def _check_names(self, verb: Verb, step: Step) -> None:
        """Raise UnknownError when the step uses a name whose value only a run can tell."""
        if missing := sorted(_used(verb, step) & self._unknown.keys()):
            raise UnknownError(f"{missing[0]} is set by step {self._unknown[missing[0]] + 1}")

    def _attempt(self, verb: Verb, step: Step, node: DryRunNode, cache: StageCache | None) -> Outcome | None:
        """What the verb would come to, with what its output sets; None when only a run can tell."""
        if cache and cache.doubt and not cache.broken and verb.actions & step["flags"].keys():
            raise UnknownError(cache.doubt)
        self.executor.rules.check_user(step, node)
        if verb.gathers:
            self._doubt_query(step, node, cache)
        outcome = (verb.apply if verb.gathers else verb.foresee)(step["body"], step["flags"], node)  # type: ignore[arg-type]
        if outcome is None and not _used(verb, step) & self._unknown.keys():
            for kind, raw in verb.raws(step["body"]):
                node.render(raw, kind)  # fails as in a run
        if outcome is not None:
            keep_values(outcome, step, node, b"" if verb.diffs else None)
        elif verb.compares:
            raise UnknownError("it compares with what is there, and only the run can tell")
        elif cache is not None and _runs_each_time(verb) and not step["flags"].get("skip-cache"):
            self._compare_inputs(verb, step, node, cache)
        return outcome

    def _doubt_query(self, step: Step, node: DryRunNode, cache: StageCache | None) -> None:
        name = node.word(step["body"]["name"])
        if None in self.values.get(name, {}).values():
            self._unknown.setdefault("query", step["i"])
            if cache is not None:
                cache.doubt = cache.doubt or f"only the run can tell {name}, which step {step['i'] + 1} asks for"

    def _compare_inputs(self, verb: Verb, step: Step, node: DryRunNode, cache: StageCache) -> None:
        """Look up a step without knowing what it sets: where only that may differ the rest is in doubt."""
        made, last = applied_fingerprint(verb, step, node, NOTHING), cache.last
        if last is not None and last.fingerprint != made and difference(last, made, last.values) == SETS:
            cache.doubt = cache.doubt or f"only the run can tell what step {step['i'] + 1} before it sets"
        cache.find(made, {})

    def _unsure(self, verb: Verb, step: Step, cache: StageCache | None, why: str) -> Decision:
        """Nobody knows what the step would do; whether later steps are cached is in doubt then."""
        each_time = cache is not None and _runs_each_time(verb)
        if cache is not None:
            if cache.broken and not verb.compares:
                return RUN, _why_each_time(verb, cache) if each_time else cache.broken, None
            if not step["flags"].get("skip-cache"):
                cache.doubt = cache.doubt or f"step {step['i'] + 1} before it: {why}"
        return (RUN, _why_each_time(verb, cache), None) if each_time else (UNSURE, why, None)

    def _failed(self, step: Step, cache: StageCache | None, reason: str) -> Decision:
        if cache is not None:
            cache.cut(f"step {step['i'] + 1} would fail")
        return RUN, reason, None

    def _apply(self, step: Step, scope: Scope, outcome: Outcome | None) -> None:
        """Set what the step would set; UNKNOWN for the output of a step that only a run can tell."""
        if outcome is not None:
            effects = outcome.effects
            self.sets.update({n: text for n, text in effects.get("arg", {}).items() if n not in scope.secret})
            for name in effects.get("arg", {}):
                self._unknown.pop(name, None)
        else:
            names = [step["flags"][flag] for flag in ("stdout-arg", "stderr-arg") if flag in step["flags"]]
            effects = {"arg": dict.fromkeys(names, UNKNOWN), "declare": names, "output": names}
            self._unknown.update(dict.fromkeys(names, step["i"]))
            self.sets.update(dict.fromkeys(name for name in names if name not in scope.secret))
        scope.apply(effects)
        self._scopes.keep(step, effects)

    def _cache(self, step: Step) -> StageCache | None:
        """The step cache of the step's stage, at the step; None for instructions of the call, which have none."""
        if self._head["kind"] != "orchestrate":
            return None
        stage = step["stage"]
        if stage not in self._caches:
            self._caches[stage] = self.executor.step_cache.load(self._head, step, read_only=True)
        self._caches[stage].enter(step["i"])
        return self._caches[stage]


class DryRunNode(LocalNode):
    """A node on which nothing can be done."""

    __slots__ = ("_result",)

    def __init__(self, result: DryRunResult, scope: Scope, step: Step) -> None:
        executor = result.executor
        only = executor.rules.user
        super().__init__(executor.name, executor.facts, executor.labels, executor.env, "", scope, step, only)
        self._result = result

    def run(self, argv: list[str], **options: Any) -> Outcome:
        """Run a program that only reads, as the client's own user. Raises UnknownError for others, or when late."""
        if not options.get("looks"):
            self.refuse()
        env = {os.fsencode(name): os.fsencode(text) for name, text in (options.get("env") or {}).items()}
        left = self.remaining()
        token = task_token(self._result.executor.place, "plan", f"{next(_PROGRAMS)}", self._step["i"])
        folder = options.get("cwd") or "/"
        result = process.run(process.Spec(argv, {**self._env, **env}, folder, timeout=left, grace=GRACE, token=token))
        if result.timed_out:
            raise UnknownError(LATE)
        return outcome_of(result, left)

    def remaining(self) -> float:
        """Seconds left for the dry run."""
        return max(0.001, self._result.deadline - time.monotonic())

    def blob(self, digest: str, size: int) -> str:
        """The path of a content that came with the message, or is here from earlier jobs. Raises UnknownError."""
        if digest in self._result.contents:
            return self._result.contents[digest]
        path = self._result.executor.fetcher.blobs.path(digest)
        if not os.path.exists(path):
            raise UnknownError("its files are too large to be looked at before they are here")
        return path

    def breathe(self) -> None:
        """Let other greenlets run. Raises UnknownError when the time of the dry run is over."""
        breathe()
        if time.monotonic() > self._result.deadline:
            raise UnknownError(LATE)

    def query(self, name: str) -> dict[str, dict[str, Any]]:
        """What the server knows now."""
        self.hear()
        found = self._result.values.get(name, {})
        return {node: {name: UNKNOWN if value is None else value} for node, value in found.items()}

    def refuse(self, *args: Any) -> Any:
        """Not in a dry run: raises UnknownError."""
        raise UnknownError("only a run can tell")

    sleep = exclusive = reboot = offer = receive = refuse

    def secret(self, name: str) -> bytes:
        """Not in a dry run: raises UnknownError."""
        raise UnknownError("it has secrets, which are given to a run only")

    def borrow(self, number: int) -> Any:
        """Not in a dry run: raises UnknownError."""
        raise UnknownError("only a run reads the files of another node")


def _runs_each_time(verb: Verb) -> bool:
    """Whether a step of the verb is never cached: it runs, and only then knows what it sets."""
    return not (verb.trusts_chain or verb.compares or verb.pure)


def _why_each_time(verb: Verb, cache: StageCache | None) -> str:
    if verb.always or cache is None:
        return ALWAYS if verb.always else ""
    return f"{verb.name} runs each time: it says neither that it compares nor that it trusts the chain"


def _used(verb: Verb, step: Step) -> set[str]:
    """Names that the step's texts use."""
    if step["flags"].get("raw"):
        return set()
    found: set[str] = set()
    for kind, raw in verb.raws(step["body"]):
        try:
            found |= used_names(raw, step["body"].get("escape", "\\"))
        except ValueError:
            found |= used_names(raw, dollars=False) if kind in ("text", "shell") else set()
    return found


def _shown(verb: Verb, step: Step, node: LocalNode) -> str:
    """The step's text as rendered here; "" where it is as written or cannot be rendered yet."""
    text: str = step["text"]
    for kind, raw in verb.raws(step["body"]):
        if raw and raw in text and ("{" in raw or (kind not in ("text", "shell") and "$" in raw)):
            try:
                text = text.replace(raw, node.render(raw, kind), 1)
            except (DirectorError, ValueError):
                return ""
    return text[:TEXT_LIMIT] if text != step["text"] else ""


def _unpack(folder: str, digests: list[str], contents: Sequence[bytes]) -> dict[str, str]:
    """Write the contents that came with a message into the folder; sha256 to path."""
    paths = {}
    for number, (digest, data) in enumerate(zip(digests, contents, strict=False)):
        path = paths[digest] = os.path.join(folder, str(number))
        with open(path, "wb") as file:
            file.write(data)
    return paths


def _bounded(rows: list[list[Any]]) -> list[list[Any]]:
    """Take away the texts and diffs that are beyond `REPLY_LIMIT`."""
    left = REPLY_LIMIT
    for row in rows:
        left -= len(row[3]) + len(row[4])
        if left < 0:
            row[3] = row[4] = ""
    return rows
