"""Applies steps on this machine: verbs, processes, files; `TaskNode` is the node that a verb is given."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from director import process, verbs
from director import states as st
from director.agent.content_fetcher import Fetcher
from director.agent.environment import client_environment, for_task, home_of
from director.agent.job_runner import JobRunner, Running, Step
from director.agent.job_secrets import OUTPUT_FLAGS
from director.agent.local_node import LocalNode
from director.agent.node_rules import NodeRules
from director.agent.node_transfer import NodeTransfer
from director.agent.reboot import Rebooter
from director.agent.secret_keeper import SecretKeeper
from director.agent.step_cache import StepCache
from director.agent.step_engine import keep_values, take_step
from director.agent.step_runner import DEFAULT_TIMEOUT, StepRunner
from director.agent.task_process import GRACE, outcome_of, task_token
from director.errors import DirectorError, LateError, RefusedError, VerbError
from director.language.scope import Scope
from director.runtime import memory_folders
from director.transfer.pieces import Content
from director.transfer.unfinished import Unfinished
from director.verbs import own
from director.verbs.base import Fetched, Outcome, Verb
from director.verbs.folders import make_folder, own_home
from director.verbs.ownership import Asked

log = logging.getLogger(__name__)

SLACK = 0.5  # seconds that a verb has longer than the processes it runs


class Executor:
    """Applies steps for an agent; one for the whole client.

    Attributes:
        facts: `{…}` of this machine, replaced when they are read again.
        labels: of this node.
        env: the environment that processes begin with.
        home: the folder that they begin in.
        pids, memory: processes and bytes that a task may have; 0 for any number.
        rules: what this node refuses.
        place: names the place of the state folder, for the tokens of tasks; see `marker_place`.
    """

    def __init__(
        self, name: str, facts: dict[str, Any], labels: dict[str, str], fetcher: Fetcher, step_cache: StepCache,
        transfer: NodeTransfer, rules: NodeRules,
    ) -> None:  # fmt: skip
        self.rules = rules
        self.name, self.facts, self.labels = name, facts, labels
        self.fetcher, self.step_cache, self.transfer = fetcher, step_cache, transfer
        self.env = client_environment(name)
        self.home = own_home()
        self.rebooter: Rebooter | None = None
        self.secrets: SecretKeeper | None = None
        self.unfinished: Unfinished | None = None
        self.pids = self.memory = 0
        self.place = "-"
        self._verbs: dict[str, Verb] = {}
        self.locks: dict[str, BoundedSemaphore] = defaultdict(BoundedSemaphore)

    def apply(self, runner: StepRunner, job: JobRunner, scope: Scope, step: Step, running: Running) -> Outcome:
        """One attempt of one step, ended by its timeout; a step of a file is looked up in the step cache first."""
        timeout = step["flags"].get("timeout") or job.head["options"].get("timeout") or DEFAULT_TIMEOUT
        node = TaskNode(self, runner, job, scope, step, running, timeout)
        outcome = self._apply(job, step, node)
        node.withhold(outcome, step)
        return outcome

    def _apply(self, job: JobRunner, step: Step, node: TaskNode) -> Outcome:
        try:
            verb = self.verb(step, node.blob)
        except RefusedError as error:
            return Outcome(st.FAILED, reason=str(error))
        except (DirectorError, KeyError) as error:
            return Outcome(st.FAILED, reason=f"{step['verb']} cannot be used: {error}")
        node.show_output(verb)
        if job.head["kind"] == "orchestrate":
            return self._apply_cached(verb, step, node, job)
        return self._attempt(verb, step, node)

    def _apply_cached(self, verb: Verb, step: Step, node: TaskNode, job: JobRunner) -> Outcome:
        cache = self.step_cache.of(job.id, job.head, step)
        cache.enter(step["i"])
        outcome = Outcome(st.FAILED)
        try:
            outcome = take_step(verb, step, node, cache, lambda step: self._attempt(verb, step, node))[0] or outcome
        except DirectorError as error:
            outcome.reason = str(error)
        finally:  # also when the attempt is interrupted: it may have changed something
            if outcome.state not in st.GOOD:
                cache.cut(f"step {step['i'] + 1} failed")
        return outcome

    def _attempt(self, verb: Verb, step: Step, node: TaskNode) -> Outcome:
        try:
            self.rules.check_user(step, node)
            _require_values(verb, step, node.scope)
            node.open_secrets()
        except LateError as error:
            return Outcome(st.TIMEOUT, reason=str(error))
        except DirectorError as error:
            return Outcome(st.FAILED, reason=str(error))
        in_time = verb.command and "secrets" not in step  # the runner ends a command, it may wait for a secret's place
        outcome = _guarded(verb, step, node) if in_time else self._attempt_in_time(verb, step, node)
        keep_values(outcome, step, node)
        node.withhold(outcome, step)
        return outcome

    def _attempt_in_time(self, verb: Verb, step: Step, node: TaskNode) -> Outcome:
        """With some slack over the timeout of its processes: the runner ends these, and knows how they ended."""
        expired, throw = gevent.Timeout(), gevent.getcurrent().throw
        timer = gevent.get_hub().loop.timer(node.timeout + SLACK, SLACK)

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
            return Outcome(st.TIMEOUT, reason=f"not done within {node.timeout:g} s")
        finally:
            timer.stop()
            timer.close()

    def verb(self, step: Step, blob: Callable[[str, int], str]) -> Verb:
        """The verb of a step; of an own verb the very version that the step was planned with.

        Args:
            blob: gives the path of a content by sha256 and size.

        Raises:
            RefusedError: the node's rules forbid the step.
            KeyError: there is no such verb.
            DirectorError: the operator's own verb cannot be fetched or used.
        """
        self.rules.check_name(step)
        verb = self._own_verb(step, blob) if "own" in step else verbs.load(step["verb"])
        self.rules.check_step(verb, step)
        return verb

    def _own_verb(self, step: Step, blob: Callable[[str, int], str]) -> Verb:
        digest, size, path = step["own"]
        key = f"{step['verb']} {digest}"
        verb = self._verbs.get(key)
        if verb is None:
            with open(blob(digest, size), "rb") as file:
                verb = self._verbs[key] = own.load(file.read(), digest, path)[step["verb"]]
        return verb


class TaskNode(LocalNode):
    """The node as one attempt of one step sees it; see `verbs.base.Node`."""

    __slots__ = ("_deadline", "_executor", "_job_runner", "_runner", "_running", "timeout")

    def __init__(
        self, executor: Executor, runner: StepRunner, job: JobRunner, scope: Scope, step: Step, running: Running,
        timeout: float,
    ) -> None:  # fmt: skip
        only = executor.rules.user
        super().__init__(executor.name, executor.facts, executor.labels, executor.env, job.id, scope, step, only)
        self._executor, self._runner, self._job_runner, self._running = executor, runner, job, running
        self.timeout = timeout
        self.unfinished = executor.unfinished
        self._deadline = time.monotonic() + timeout

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
        """Run a program to its end, within the step's time."""
        scope, running, secrets = self.scope, self._running, self._job_runner.secrets
        if secrets.patterns and any(map(secrets.is_in, argv)):
            raise VerbError(
                "a secret would be among the arguments of a process, where every user can read it; give it as a "
                'variable (--mount=type=secret,id=NAME,env=X) and write "$X"'
            )
        user = scope.user if user is None else user
        other = bool(user) and self._is_other(user)
        environment = for_task(self._executor.env, self.job, scope, other)
        if env:
            environment = {**environment, **{os.fsencode(k): os.fsencode(v) for k, v in env.items()}}
        limit = self.remaining()
        spec = process.Spec(
            argv, environment, cwd or scope.workdir or self._executor.home, stdin=stdin,
            timeout=limit if timeout is None else min(timeout, limit), grace=GRACE,
            token=task_token(self._executor.place, self._runner.journal.instance, self.job, self._step["i"]),
            mask=secrets.patterns, plain=self._secret_streams(), detach=detach,
            pids=self._executor.pids, memory=self._executor.memory,
        )  # fmt: skip
        if user:
            self._become(spec, user, cwd)
        if scope.workdir and not cwd and not os.path.isdir(scope.workdir):
            make_folder(scope.workdir, Asked())
        running.in_process = True
        try:
            result = process.run(spec, running.handle)
        finally:
            running.in_process = False
        self._deadline += result.suspended
        cancelled = "client stopped" if self._runner.draining else (self._job_runner.cancelled or "cancelled")
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        return outcome_of(result, limit, cancelled, quotes=not spec.plain)

    def _secret_streams(self) -> list[int]:
        """The outputs that become secret ARGs, which are masked as a whole."""
        flags, secret = self._step["flags"], self.scope.secret
        return [number for number, flag in enumerate(OUTPUT_FLAGS) if flags.get(flag) in secret]

    def show_output(self, verb: Verb) -> None:
        """Let the output of a command be followed, unless it becomes a value, which may be a secret.

        The output of other verbs is not that of one process.
        """
        self._running.shown = verb.command and self._step["flags"].keys().isdisjoint(OUTPUT_FLAGS)

    def open_secrets(self) -> None:
        """Have the secrets of the job at hand once a step uses some. Raises VerbError, LateError."""
        if self._job_runner.secrets.used and self._executor.secrets is not None:
            self._executor.secrets.open(self._job_runner, self._step["i"], self.remaining)

    def withhold(self, outcome: Outcome, step: Step) -> None:
        """Take what is secret out of an outcome."""
        secrets = self._job_runner.secrets
        secrets.withhold(outcome, step, self.scope)
        if outcome.private and self._executor.secrets is not None:
            self._executor.secrets.watch(secrets)

    def hide(self, text: str) -> str:
        """The text with all secrets of the job masked."""
        return self._job_runner.secrets.hide(text)

    def secret(self, name: str) -> bytes:
        """The value of a secret. Raises VerbError: it was not given to this step."""
        return self._job_runner.secrets.value(name, self._step["i"])

    def memory_file(self, data: bytes, mode: int, uid: int, gid: int) -> AbstractContextManager[str]:
        """The path of a file in memory that only this user can reach. Raises VerbError, OSError."""
        return memory_folders.file(self._executor.place, data, mode, uid, gid)

    def _is_other(self, user: str) -> bool:
        """Whether this is another user than the client's."""
        return self.identity(user)[0] != os.geteuid()

    def _become(self, spec: process.Spec, user: str, cwd: str | None) -> None:
        """Run as another user: their ids, groups, HOME and USER."""
        uid, gid = self.identity(user)
        home, name = home_of(uid)
        user_name = os.fsencode(name)
        spec.env = {**spec.env, b"HOME": os.fsencode(home), b"USER": user_name, b"LOGNAME": user_name}
        if not (cwd or self.scope.workdir):
            spec.cwd = home if os.path.isdir(home) else "/"
        if uid != os.geteuid() or gid != os.getegid():
            spec.uid, spec.gid = uid, gid
            spec.groups = [gid] if ":" in user else None

    def blob(self, digest: str, size: int) -> str:
        """The path of this content, once it is here. Raises VerbError, StoreError."""
        return self._executor.fetcher.get(self.job, self._step["i"], digest, size)

    def receive(self, contents: Sequence[Content], take: Callable[[Content, memoryview, bool], None]) -> None:
        """Give these contents to `take` as they come. Raises VerbError, and what `take` raises."""
        self._executor.fetcher.receive(self.job, self._step["i"], contents, take)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        gevent.sleep(seconds)

    def exclusive(self, name: str) -> Any:
        """One at a time on this node."""
        return self._executor.locks[name]

    def remaining(self) -> float:
        """Seconds left for this attempt."""
        return max(0.001, self._deadline - time.monotonic())

    def is_over(self) -> bool:
        """Whether its time is over while no process runs; the runner ends a process in time."""
        return not self._running.in_process and time.monotonic() > self._deadline

    def reboot(self, delay: float) -> Outcome:
        """Restart the host; the client that is back reports the outcome. Raises VerbError."""
        rebooter = self._executor.rebooter
        if rebooter is None:
            raise VerbError("this client cannot restart its host")
        return rebooter.reboot(self._job_runner, self._running, delay, self.remaining())

    def query(self, name: str) -> dict[str, dict[str, Any]]:
        """Values of other nodes; others may have this task's slot meanwhile. Raises VerbError, LateError."""
        self.hear()
        with self._runner.slots.aside():
            return self._executor.transfer.query(self.job, self._step["i"], name, self.remaining)

    def offer(self, patterns: list[str]) -> Fetched:
        """Send files to the submitter's machine. Raises DirectorError, OSError."""
        with self._runner.slots.aside():
            return self._executor.transfer.fetch(self.job, self._step["i"], patterns, self.remaining)

    def borrow(self, number: int) -> dict[str, Any]:
        """Sources on another node. Raises VerbError, LateError."""
        self.hear()
        with self._runner.slots.aside():
            return self._executor.transfer.borrow(self.job, self._step["i"], number, self.remaining)


def _guarded(verb: Verb, step: Step, node: TaskNode) -> Outcome:
    try:
        outcome = verb.apply(step["body"], step["flags"], node)  # type: ignore[arg-type]
        if "own" in step and "labels" in outcome.effects:
            raise VerbError(f"{step['verb']} sets labels; only LABEL and --label-node can")
        return outcome
    except LateError as error:
        return Outcome(st.TIMEOUT, reason=str(error))
    except DirectorError as error:
        return Outcome(st.FAILED, reason=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Outcome(st.FAILED, reason=f"{where}{error.strerror or error}")
    except Exception as error:
        log.exception("%s failed in an unexpected way", step["verb"])
        where = f"{own.place_of(error, step['own'][2])}: " if "own" in step else ""
        return Outcome(st.FAILED, reason=f"{where}{step['verb']} failed: {type(error).__name__}: {error}")


def _require_values(verb: Verb, step: Step, scope: Scope) -> None:
    """Check that no value is gone that the step may use: an unset variable could do harm. Raises VerbError."""
    for name in sorted(scope.withheld):
        if verb.command or "own" in step or re.search(rf"\b{re.escape(name)}\b", str(step["body"])):
            raise VerbError(
                f"{name} has no value here: a secret one is in memory only, and gone when client or job was started "
                "again; submit the job anew"
            )
