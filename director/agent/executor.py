"""What a step may do on this machine: values, rendering, processes, files; the `Node` that verbs are given."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import logging
import os
import pwd
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from director import process, verbs
from director import states as st
from director.agent.blob_fetcher import Fetcher
from director.agent.job_runner import JobRunner, Running, Step
from director.agent.node_transfer import NodeTransfer
from director.agent.reboot import Rebooter
from director.agent.step_cache import CachedStep, Chain, StepCache, mark, mark_of_values, shown_values
from director.agent.step_runner import DEFAULT_TIMEOUT, StepRunner
from director.errors import DirectorError, LateError, VerbError
from director.language.scope import Scope, is_proxy
from director.runtime import service_manager
from director.runtime.greenlets import breathe
from director.verbs import own
from director.verbs.base import Fetched, Outcome, Verb
from director.verbs.folders import own_home
from director.verbs.own import place_of

log = logging.getLogger(__name__)

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
GRACE = 5.0
SLACK = 0.5  # seconds that a verb has longer than the processes it runs
NO_ID = 0xFFFFFFFF  # as a uid or gid: leave it as it is


class Executor:
    """Applies steps for an agent; one for the whole client.

    Args:
        facts: `{…}` of this machine, replaced when they are read again.
        labels: of this node.
        fetcher: brings file contents from the server.
        chains: what ran last, for the cache of orchestration files.
        exchange: what goes to other nodes and comes from them.
    """

    def __init__(
        self, name: str, facts: dict[str, Any], labels: dict[str, str], fetcher: Fetcher, chains: StepCache,
        exchange: NodeTransfer,
    ) -> None:  # fmt: skip
        self.name = name
        self.facts = facts
        self.labels = labels
        self.fetcher = fetcher
        self.base = _base_environment(name)
        self.home = own_home()
        self.chains = chains
        self.exchange = exchange
        self.rebooter: Rebooter | None = None
        self.pids = self.memory = 0  # processes and bytes that a task may have, 0 for any number
        self.place = "-"  # where the state folder is, for the markers of tasks
        self._verbs: dict[str, Verb] = {}
        self._locks: dict[str, BoundedSemaphore] = {}

    def apply(self, runner: StepRunner, held: JobRunner, scope: Scope, step: Step, running: Running) -> Outcome:
        """One attempt of one step, ended by its timeout; for a step of a file that is cached, its record."""
        timeout = step["flags"].get("timeout") or held.head["options"].get("timeout") or DEFAULT_TIMEOUT
        node = TaskNode(self, runner, held, scope, step, running, timeout)
        try:
            verb = self.verb(step, node.blob)
        except (DirectorError, KeyError) as error:
            return Outcome(st.FAILED, reason=f"{step['verb']} cannot be used: {error}")
        if held.head["kind"] == "orchestrate":
            return self._apply_chained(verb, step, node, held)
        return self._apply_once(verb, step, node, timeout)

    def _apply_once(self, verb: Verb, step: Step, node: TaskNode, timeout: float) -> Outcome:
        # the runner ends a command in time
        outcome = _guarded(verb, step, node) if verb.command else self._apply_timed(verb, step, node, timeout)
        for flag, data in (("stdout-arg", outcome.stdout), ("stderr-arg", outcome.stderr)):
            if flag in step["flags"]:
                keep_output(outcome, step["flags"][flag], data)
        return outcome

    def _apply_chained(self, verb: Verb, step: Step, node: TaskNode, held: JobRunner) -> Outcome:
        """DSL.md section 6: of what ran last in this place, with these inputs, only what can be seen is looked at."""
        head, number = held.head, step["i"]
        chain = self.chains.of(held.id, head["name"], stage_key(head, step), bool(head["options"].get("no_cache")))
        skips = bool(step["flags"].get("skip-cache"))  # it leaves the rest of the chain alone, whatever it changes
        made, link = "", None
        if verb.trusts_chain or verb.actions:
            try:
                made = mark_of(verb, step, node)
            except DirectorError as error:
                chain.known(number, "")
                return Outcome(st.FAILED, reason=str(error))
            link = None if skips else chain.known(number, made)
            if link is not None and verb.trusts_chain:
                reason = f"unchanged since job {link.job}"
                return Outcome(st.CACHED, reason=reason, effects=dict(link.effects))
        outcome = self._apply_once(verb, step if link is None else without_actions(verb, step), node, node.timeout)
        if outcome.state not in st.GOOD:
            chain.known(number, "")
            return outcome
        kept: dict[str, Any] = {}
        if verb.trusts_chain:
            kept = {name: value for name, value in outcome.effects.items() if name in ("arg", "declare", "output")}
        else:
            made = made or applied_mark(verb, step, node, outcome)
            self._compare(verb, chain, number, made, outcome, skips)
        chain.record(number, CachedStep(made, kept, time.time(), held.id, values_of(verb, step, node.scope, outcome)))
        return outcome

    def _compare(self, verb: Verb, chain: Chain, number: int, made: str, outcome: Outcome, skips: bool) -> None:
        """Of a step that was applied: has it changed something for those behind it?"""
        changed = verb.compares and outcome.state != st.CACHED
        if not skips and chain.known(number, "" if changed else made) is not None and verb.pure:
            outcome.state, outcome.reason = st.CACHED, outcome.reason or "unchanged"

    def _apply_timed(self, verb: Verb, step: Step, node: TaskNode, timeout: float) -> Outcome:
        """With some slack over the timeout of its processes: the runner ends these, and knows how they ended."""
        expired, throw = gevent.Timeout(), gevent.getcurrent().throw
        timer = gevent.get_hub().loop.timer(timeout + SLACK, SLACK)

        def check() -> None:
            if node.is_over():
                timer.stop()
                throw(expired)

        timer.start(check)
        try:
            return _guarded(verb, step, node)
        except gevent.Timeout as error:
            if error is not expired:
                raise
            return Outcome(st.TIMEOUT, reason=f"not done within {timeout:g} s")
        finally:
            timer.stop()
            timer.close()

    def verb(self, step: Step, blob: Callable[[str, int], str]) -> Verb:
        """The verb of a step. Raises KeyError when there is none, VerbError when the operator's own cannot be used."""
        name = step["verb"]
        key = f"{name} {step['own'][0]}" if "own" in step else name
        verb = self._verbs.get(key)
        if verb is None:
            verb = self._verbs[key] = load_own(step, blob) if "own" in step else verbs.load(name)
        return verb

    def environment(self, held: JobRunner, scope: Scope) -> dict[bytes, bytes]:
        """The environment of a RUN as bytes, made again only when a value of the scope has changed."""
        if scope.made is not None and scope.made[0] == scope.version:
            known: dict[bytes, bytes] = scope.made[1]
            return known
        texts = {name: text for name, text in scope.dollars().items() if SHELL_NAME.fullmatch(name)}
        made = {**self.base, b"DIRECTOR_JOB": held.id.encode()}
        made.update((os.fsencode(name), os.fsencode(text.replace("\0", ""))) for name, text in texts.items())
        scope.made = (scope.version, made)
        return made

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """One at a time on this node."""
        with self._locks.setdefault(name, BoundedSemaphore(1)):
            yield


class TaskNode:
    """The node as one attempt of one step sees it; see `verbs.base.Node`."""

    __slots__ = (
        "_deadline",
        "_executor",
        "_held",
        "_names",
        "_runner",
        "_running",
        "_step",
        "scope",
        "timeout",
    )

    def __init__(
        self,
        executor: Executor,
        runner: StepRunner,
        held: JobRunner,
        scope: Scope,
        step: Step,
        running: Running,
        timeout: float,
    ) -> None:
        self.scope = scope
        self._executor, self._runner, self._held = executor, runner, held
        self._step, self._running = step, running
        self.timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._names: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The node's."""
        return self._executor.name

    @property
    def job(self) -> str:
        """The job's id."""
        return self._held.id

    @property
    def facts(self) -> Mapping[str, Any]:
        """Of this machine."""
        return self._executor.facts

    @property
    def labels(self) -> Mapping[str, str]:
        """Of this node."""
        return self._executor.labels

    # -- rendering ----------------------------------------------------------------------------------------

    def text(self, raw: str) -> str:
        """Braces only."""
        if ("{{" not in raw and "{%" not in raw) or "raw" in self._step["flags"]:
            return raw
        from director.language.substitution import render_text

        return render_text(raw, self._namespace())

    def word(self, raw: str, escape: str = "\\") -> str:
        """Braces and `$X`, quotes and escapes taken away."""
        from director.language.substitution import render_word

        return render_word(raw, self._namespace(), self._dollar, escape, **self._raw())

    def document(self, raw: str) -> str:
        """Braces and `$X`, quotes stay."""
        from director.language.substitution import render_word

        return render_word(raw, self._namespace(), self._dollar, "\\", quotes=False, **self._raw())

    def blueprint(self, source: str) -> str:
        """A file's text as one template."""
        from director.language.substitution import render_text

        return render_text(source, self._namespace())

    def _raw(self) -> dict[str, bool]:
        return {"braces": False} if self._step["flags"].get("raw") else {}

    def _namespace(self) -> Mapping[str, Any]:
        if self._names is None:
            from director.language.types import Names

            node = {"id": self.name, "labels": dict(self.labels)}
            self._names = Names(self.scope.texts(), self.facts, node, self.scope.query, self.scope.quoted)
        return self._names

    def _dollar(self, name: str) -> str | None:
        value = self.scope.dollars().get(name)
        if value is not None:
            return value
        inherited = self._executor.base.get(os.fsencode(name))
        return None if inherited is None else os.fsdecode(inherited)

    def render(self, raw: str, kind: str) -> str:
        """`raw` as its verb would render it: `word`, `text` or `document`."""
        rendered: str = getattr(self, kind)(raw)
        return rendered

    # -- processes ----------------------------------------------------------------------------------------

    def run(
        self,
        argv: list[str],
        *,
        user: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        detach: bool = False,
        timeout: float | None = None,
        looks: bool = False,
    ) -> Outcome:
        """A program to its end, within the step's time."""
        scope, running = self.scope, self._running
        environment = self._executor.environment(self._held, scope)
        if env:
            environment = {**environment, **{os.fsencode(k): os.fsencode(v) for k, v in env.items()}}
        user = scope.user if user is None else user
        limit = self.remaining()
        spec = process.Spec(
            argv, environment, cwd or scope.workdir or self._executor.home, stdin=stdin,
            timeout=limit if timeout is None else min(timeout, limit), grace=GRACE,
            token=task_token(self._executor.place, self._runner.journal.instance, self._held.id, self._step["i"]),
            detach=detach, pids=self._executor.pids, memory=self._executor.memory,
        )  # fmt: skip
        if user:
            self._become(spec, user, cwd)
        if scope.workdir and not cwd and not os.path.isdir(scope.workdir):
            os.makedirs(scope.workdir, exist_ok=True)
        running.in_process = True
        try:
            result = process.run(spec, running.handle)
        finally:
            running.in_process = False
        self._deadline += result.suspended
        return self._outcome(result, self.timeout if timeout is None else min(timeout, self.timeout))

    def _become(self, spec: process.Spec, user: str, cwd: str | None) -> None:
        """Run as another user: ids, groups, HOME and USER of theirs."""
        uid, gid = self.identity(user)
        home, name = _home_of(uid)
        spec.env = {
            **spec.env,
            b"HOME": os.fsencode(home),
            b"USER": os.fsencode(name),
            b"LOGNAME": os.fsencode(name),
        }
        if not (cwd or self.scope.workdir):
            spec.cwd = home if os.path.isdir(home) else "/"
        if uid != os.geteuid() or gid != os.getegid():
            spec.uid, spec.gid = uid, gid
            spec.groups = [gid] if ":" in user else None

    def _outcome(self, result: process.Result, timeout: float) -> Outcome:
        if result.exit_code == 0 and not (result.timed_out or result.cancelled or result.error):
            return Outcome(st.SUCCESS, 0, result.stdout, result.stderr, "", result.truncated)
        state, reason = st.FAILED, result.error or f"exit code {result.exit_code}"
        if result.timed_out:
            state, reason = st.TIMEOUT, f"not done within {timeout:g} s; its processes were ended"
        elif result.cancelled:
            reason = "client stopped" if self._runner.draining else (self._held.cancelled or "cancelled")
        elif not result.error and result.stderr:
            reason = f"{reason}: {_last_line(result.stderr)}"
        if result.error and (result.timed_out or result.cancelled):
            reason = f"{reason} ({result.error})"
        return Outcome(state, result.exit_code, result.stdout, result.stderr, reason, result.truncated)

    # -- the rest -----------------------------------------------------------------------------------------

    def blob(self, digest: str, size: int) -> str:
        """The path of this content."""
        return self._executor.fetcher.get(self._held.id, digest, size)

    def identity(self, user: str) -> tuple[int, int]:
        """uid and gid of `user[:group]`."""
        name, _, group = user.partition(":")
        uid, gid = os.geteuid(), os.getegid()
        if name:
            uid, gid = _user(name)
        if group:
            gid = _number(group) if group.isdigit() else _group(group)
        return uid, gid

    def sleep(self, seconds: float) -> None:
        """Wait."""
        gevent.sleep(seconds)

    def breathe(self) -> None:
        """Let others work."""
        breathe()

    def exclusive(self, name: str) -> Any:
        """One at a time on this node."""
        return self._executor.exclusive(name)

    def remaining(self) -> float:
        """Seconds left for this attempt."""
        return max(0.001, self._deadline - time.monotonic())

    def is_over(self) -> bool:
        """Whether its time is over and no process runs, which would be ended in its own time."""
        return not self._running.in_process and time.monotonic() > self._deadline

    def query(self, name: str) -> dict[str, dict[str, Any]]:
        """Values of other nodes."""
        with self._runner.aside():
            return self._executor.exchange.query(self._held.id, self._step["i"], name, self.remaining)

    def reboot(self, delay: float) -> Outcome:
        """Restart the host; the outcome comes from the client that is back."""
        rebooter = self._executor.rebooter
        if rebooter is None:
            raise VerbError("this client cannot restart its host")
        return rebooter.reboot(self._held, self._running, delay, self.remaining())

    def pattern(self, raw: str, escape: str = "\\") -> str:
        """A path with stars, of which those in values mean themselves."""
        from director.globs import shielded, unshielded
        from director.language.substitution import render_word
        from director.language.types import Names

        texts = {name: shielded(text) for name, text in self.scope.texts().items()}
        node = {"id": self.name, "labels": dict(self.labels)}
        names = Names(texts, self.facts, node, self.scope.query, self.scope.quoted)
        return unshielded(render_word(raw, names, self._shielded_dollar, escape, **self._raw()))

    def _shielded_dollar(self, name: str) -> str | None:
        from director.globs import shielded

        text = self._dollar(name)
        return None if text is None else shielded(text)

    def offer(self, patterns: list[str]) -> Fetched:
        """Send files to the submitter's machine."""
        with self._runner.aside():
            return self._executor.exchange.fetch(self._held.id, self._step["i"], patterns, self.remaining)

    def borrow(self, number: int) -> dict[str, Any]:
        """Sources on another node."""
        with self._runner.aside():
            return self._executor.exchange.borrow(self._held.id, self._step["i"], number, self.remaining)


def _guarded(verb: Verb, step: Step, node: TaskNode) -> Outcome:
    try:
        return verb.apply(step["body"], step["flags"], node)  # type: ignore[arg-type]
    except LateError as error:
        return Outcome(st.TIMEOUT, reason=str(error))
    except DirectorError as error:
        return Outcome(st.FAILED, reason=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Outcome(st.FAILED, reason=f"{where}{error.strerror or error}")
    except Exception as error:
        log.exception("%s failed in an unexpected way", step["verb"])
        where = f"{place_of(error, step['own'][2])}: " if "own" in step else ""
        return Outcome(st.FAILED, reason=f"{where}{step['verb']} failed: {type(error).__name__}: {error}")


def load_own(step: Step, blob: Callable[[str, int], str]) -> Verb:
    """A verb of the operator's own, of the very version the step was planned with."""
    digest, size, path = step["own"]
    with open(blob(digest, size), "rb") as file:
        return own.load(file.read(), digest, path)[step["verb"]]


def keep_output(outcome: Outcome, name: str, data: bytes) -> None:
    """`--stdout-arg`: the text without blanks at both ends, as an ARG of the job."""
    text = data.decode("utf-8", "replace").strip()
    effects = outcome.effects
    outcome.effects = {
        **effects,
        "arg": {**effects.get("arg", {}), name: text},
        "declare": [*effects.get("declare", ()), name],
        "output": [*effects.get("output", ()), name],
    }


def stage_key(head: Mapping[str, Any], step: Step) -> str:
    """What a stage's chain is kept under."""
    names = head.get("stages") or []
    number = step["stage"]
    return f"{number}:{names[number] if number < len(names) else ''}"


def mark_of(verb: Verb, step: Step, node: TaskNode, *more: Any) -> str:
    """The step as rendered on this node, with its inputs, and with what `more` there is of it."""
    scope = node.scope
    rendered = [node.render(raw, kind) for kind, raw in verb.raws(step["body"])]
    values = _environment_of(scope, rendered) if verb.command else {}
    body = {**step["body"], "own": step["own"][0]} if "own" in step else step["body"]
    return mark(step["verb"], step["flags"], body, rendered, scope.user, scope.workdir, scope.shell, values, *more)


def applied_mark(verb: Verb, step: Step, node: TaskNode, outcome: Outcome) -> str:
    """Of a step that is applied each time: what it set, or its inputs, or both."""
    if verb.always:
        return mark_of_values(step["verb"], outcome.effects)
    return mark_of(verb, step, node, *(() if verb.compares else (outcome.effects,)))


def without_actions(verb: Verb, step: Step) -> Step:
    """The step with its actions given as False: they were done when it ran last."""
    flags = step["flags"]
    return {**step, "flags": {**flags, **dict.fromkeys(verb.actions & flags.keys(), False)}}


def values_of(verb: Verb, step: Step, scope: Scope, outcome: Outcome) -> dict[str, str]:
    """What can be told of the step's values when they are others one day; see `CachedStep.values`."""
    if verb.always:
        effects = outcome.effects
        return {**shown_values("ARG", effects.get("arg", {})), **shown_values("ENV", effects.get("env", {}))}
    if not scope.overrides:
        return {}
    text = "\n".join(raw for _, raw in verb.raws(step["body"]))
    return shown_values("ARG", {name: value for name, value in scope.overrides.items() if name in text})


def _environment_of(scope: Scope, rendered: Sequence[str]) -> dict[str, str]:
    """ARGs and ENVs that a RUN sees; what a step's output set counts only where the command names it."""
    texts = {name: text for name, text in scope.dollars().items() if not is_proxy(name)}
    seen = _VALUE.findall("\n".join(rendered)) if scope.outputs else ()
    return {name: text for name, text in texts.items() if name not in scope.outputs or name in seen}


def task_token(place: str, instance: str, job: str, step: int) -> str:
    """What marks the processes of a task: its client, as two may run on one machine, job and step.

    `place` is where the state folder is and `instance` what is in it: an older copy that was put back knows
    nothing of the tasks that run, but is in the same place.
    """
    return f"{place}.{instance}.{job}.{step}"


def marker_place(state_dir: str) -> str:
    """A name for the place of a state folder, whatever is in it; another in each container and chroot."""
    parent, name = os.path.split(os.path.realpath(state_dir))
    at = os.stat(parent)
    return hashlib.sha256(f"{at.st_dev}:{at.st_ino}:{name}".encode(errors="surrogateescape")).hexdigest()[:16]


def _base_environment(name: str) -> dict[bytes, bytes]:
    base = {key: value for key, value in os.environb.items() if not key.startswith(b"DIRECTOR_")}
    entry = _home_of(os.geteuid())
    base.setdefault(b"HOME", os.fsencode(entry[0]))
    base.setdefault(b"USER", os.fsencode(entry[1]))
    base.setdefault(b"PATH", b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    for variable in service_manager.VARIABLES:
        base.pop(variable.encode(), None)
    base[b"DIRECTOR_NODE"] = name.encode()
    return base


def _home_of(uid: int) -> tuple[str, str]:
    try:
        entry = pwd.getpwuid(uid)
        return entry.pw_dir, entry.pw_name
    except KeyError:
        return "/", str(uid)


def _number(text: str) -> int:
    """A user's or a group's number; the highest one means none to the kernel."""
    if len(text) > 10 or int(text) >= NO_ID:
        raise VerbError(f"{text} is no number of a user or group; expected one below {NO_ID}")
    return int(text)


def _user(name: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwuid(_number(name)) if name.isdigit() else pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid
    except KeyError:
        if name.isdigit():
            return int(name), int(name)
        raise VerbError(f"there is no user {name} on this node") from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise VerbError(f"there is no group {name} on this node") from None


def _last_line(data: bytes) -> str:
    lines = data[-500:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else ""
