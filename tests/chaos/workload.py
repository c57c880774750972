"""Jobs of every kind, submitted, cancelled and resumed while the faults strike; only what was acknowledged counts.

Every RUN appends `start JOB STEP NODE PID` to its node's file when it begins and `end JOB STEP NODE PID` when
it ends well. The attempt is the number of starts of that step so far, as one attempt may start it once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from director.config.settings import Settings
from director.errors import DirectorError, NoServerError, UsageError
from director.ids import new_job_id
from director.library.connection import Connection
from director.library.submission import send

from .fleet import ChaosFleet

PAUSE = 0.6  # mean seconds between two submissions of one submitter


@dataclass
class Step:
    """One line of a submitted text, and how it ends when nothing strikes: a state's name, "" when it is no step."""

    text: str
    ends: str = "success"
    marked: bool = True  # it writes marks
    retry: int = 1  # attempts it may have


@dataclass
class Job:
    """A job that this workload made."""

    id: str
    kind: str
    steps: list[Step]
    targets: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    acknowledged: bool = False
    cancelled: bool = False
    resumes: str = ""
    form: str = "containerfile"

    @property
    def text(self) -> str:
        """What is submitted; in YAML each two steps are an entry that runs beside the others."""
        if self.form == "containerfile":
            return "\n".join(step.text for step in self.steps)
        lines = []
        for number, step in enumerate(self.steps):
            lines += ["- async: true", "  jobs:"] if number % 2 == 0 else []
            lines += ["  - RUN: |-", f"      {step.text.removeprefix('RUN ')}"]
        return "\n".join(lines)


class Writer:
    """Writes the text of jobs."""

    def __init__(self, fleet: ChaosFleet, dice: random.Random) -> None:
        self._fleet, self._dice = fleet, dice

    def make(self) -> Job:
        """A job of a random kind on random nodes."""
        kind = self._dice.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        job = Job(new_job_id(), kind, [], self._nodes())
        KINDS[kind][1](self, job)
        return job

    def _nodes(self, most: int | None = None) -> list[str]:
        names = self._fleet.names
        count = self._dice.choice([1, 1, 2, 3, len(names)])
        return sorted(self._dice.sample(names, min(count, most or len(names))))

    def run(self, job: Job, body: str = ":", ends: str = "success", flags: str = "") -> None:
        """A RUN that marks its beginning and its end."""
        number, place = sum(bool(step.ends) for step in job.steps), self._fleet.marks
        mark = f'"$1 $DIRECTOR_JOB {number} $DIRECTOR_NODE $$" >> {place}/$DIRECTOR_NODE'
        start, end = mark.replace("$1", "start"), mark.replace("$1", "end")
        job.steps.append(Step(f"RUN {flags}echo {start} && {{ {body}; }} && echo {end}", ends))

    def one(self, job: Job) -> None:
        """A quick step."""
        self.run(job)

    def few(self, job: Job) -> None:
        """Some steps that take their time."""
        for _ in range(self._dice.randint(2, 6)):
            self.run(job, f"sleep {self._dice.uniform(0.05, 1.5):.2f}")

    def many(self, job: Job) -> None:
        """200 steps."""
        job.targets = job.targets[:2]
        for _ in range(200):
            self.run(job)

    def failing(self, job: Job) -> None:
        """A failure in the middle."""
        self.run(job)
        self.run(job, "sh -c 'exit 3'", "failed")
        self.run(job, ends="skipped")

    def ignoring(self, job: Job) -> None:
        """A failure that is ignored."""
        self.run(job, "false", "failed", "--ignore-errors ")
        self.run(job)

    def slow(self, job: Job) -> None:
        """A timeout with processes that would stay for ever."""
        self.run(job, "sleep 1000 & sleep 1000 & wait", "timeout", "--timeout=1s ")
        self.run(job, ends="skipped")

    def timely(self, job: Job) -> None:
        """Steps that end in their time, whatever keeps the client from looking."""
        for _ in range(3):
            self.run(job, f"sleep {self._dice.uniform(0.3, 1.5):.2f}", flags="--timeout=4s ")

    def crowded(self, job: Job) -> None:
        """More processes than a task has without a cgroup of its own, and a timeout."""
        job.targets = job.targets[:1]
        body = "i=0; while [ $i -lt 80 ]; do sleep 1000 & i=$((i+1)); done; wait"
        self.run(job, body, "timeout", "--timeout=2s ")

    def retrying(self, job: Job) -> None:
        """Fails, and begins again."""
        self.run(job, "test $(grep -c \"start $DIRECTOR_JOB 0 \" "
                 f"{self._fleet.marks}/$DIRECTOR_NODE) -ge 2", "success", "--retry=3 ")  # fmt: skip
        job.steps[-1].retry = 3

    def children(self, job: Job) -> None:
        """Sleeps with children, some in a session of their own."""
        seconds = self._dice.uniform(0.5, 4)
        self.run(job, f"setsid sleep 900 & sleep {seconds:.1f} & sleep {seconds:.1f}; wait $!")

    def big(self, job: Job) -> None:
        """More output than is kept."""
        job.targets = job.targets[:1]
        self.run(job, "head -c 300000 /dev/zero | tr '\\0' x; head -c 1500000 /dev/urandom >&2")

    def copy(self, job: Job) -> None:
        """A file to every node, and a look at it."""
        place = f"{self._fleet.folder}/copies/$DIRECTOR_NODE/{job.id}"
        job.steps.append(Step(f"COPY {self._fleet.source} {place}", marked=False))
        self.run(job, f"cmp {self._fleet.source} {place}")

    def files(self, job: Job) -> None:
        """A file from another node, and one to the submitter."""
        source, folder = self._fleet.source, self._fleet.folder
        place = f"{folder}/copies/$DIRECTOR_NODE/{job.id}"
        lender = self._dice.choice(self._fleet.names)
        job.steps.append(Step(f"COPY --timeout=20s --from={lender} {source} {place}", marked=False))
        self.run(job, f"cmp {source} {place}")
        job.steps.append(Step(f"FETCH --timeout=20s {place} {folder}/fetched", marked=False))

    def asking(self, job: Job) -> None:
        """Values of the other nodes."""
        job.steps.append(Step(f"ARG CHAOS={job.id}", marked=False))
        job.steps.append(Step("QUERY --timeout=20s CHAOS", marked=False))
        self.run(job)

    def entries(self, job: Job) -> None:
        """Three entries that run side by side; a failure ends its own."""
        job.form = "yaml"
        for number in range(3):
            self.run(job, "sleep 0.3" if number != 1 else "sh -c 'exit 3'", "failed" if number == 1 else "success")
            self.run(job, ends="skipped" if number == 1 else "success")

    def stages(self, job: Job) -> None:
        """Two stages: the second begins when the first has ended."""
        names = ",".join(job.targets)
        for _ in range(2):
            job.steps.append(Step(f"FROM {names}", "", False))
            self.run(job, "sleep 0.2")
        job.targets = []

    def once(self, job: Job) -> None:
        """A step on one node in the middle."""
        self.run(job)
        self.run(job, flags="--run-once ")
        self.run(job)

    def short_lived(self, job: Job) -> None:
        """Expires when the node is away for long."""
        job.options["valid_for"] = self._dice.choice([2.0, 4.0, 8.0])
        self.run(job)


KINDS: dict[str, tuple[int, Callable[[Writer, Job], None]]] = {
    "one": (6, Writer.one),
    "few": (6, Writer.few),
    "many": (2, Writer.many),
    "failing": (3, Writer.failing),
    "ignoring": (2, Writer.ignoring),
    "slow": (3, Writer.slow),
    "timely": (6, Writer.timely),
    "crowded": (1, Writer.crowded),
    "retrying": (3, Writer.retrying),
    "children": (4, Writer.children),
    "big": (2, Writer.big),
    "copy": (4, Writer.copy),
    "files": (3, Writer.files),
    "asking": (2, Writer.asking),
    "entries": (3, Writer.entries),
    "stages": (3, Writer.stages),
    "once": (2, Writer.once),
    "short-lived": (3, Writer.short_lived),
}


class Workload:
    """Submitters and cancellers in threads of their own.

    Attributes:
        jobs: every job that was tried, by id.
        refused: answers that said no, counted by their text.
    """

    def __init__(self, fleet: ChaosFleet, seed: int, submitters: int = 2) -> None:
        self.jobs: dict[str, Job] = {}
        self.refused: dict[str, int] = {}
        self.can_resume = True
        self.errors: list[str] = []
        self._fleet = fleet
        self._end = threading.Event()
        self.settings = Settings(socket_path=str(fleet.socket_path), server_timeout=60.0)
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._submitter, random.Random(f"work-{seed}-{i}")))
            for i in range(submitters)
        ]
        self._threads.append(threading.Thread(target=self._guarded, args=(self._canceller, random.Random(seed))))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more jobs; returns when every answer has come."""
        self._end.set()
        for thread in self._threads:
            thread.join(120)
            if thread.is_alive():
                self.errors.append("a submitter got neither an answer nor an error for two minutes")

    def _guarded(self, work: Callable[[random.Random], None], dice: random.Random) -> None:
        try:
            work(dice)
        except Exception as error:
            self.errors.append(f"{work.__name__}: {error!r}")
            raise

    def _submitter(self, dice: random.Random) -> None:
        writer = Writer(self._fleet, dice)
        while not self._end.wait(dice.expovariate(1 / PAUSE)):
            if self.can_resume and dice.random() < 0.1:
                self._resume(dice)
                continue
            jobs = [writer.make()]
            if dice.random() < 0.1 and jobs[0].targets:  # the second begins when the first has ended well
                jobs += [job for job in [writer.make()] if job.targets]
            self.jobs.update((job.id, job) for job in jobs)
            if dice.random() < 0.1 and len(jobs) == 1 and not jobs[0].options:
                self._by_command(jobs[0])
            else:
                self._by_socket(jobs)

    def _by_socket(self, jobs: list[Job]) -> None:
        files = [
            {
                "id": job.id, "kind": "exec", "name": "exec", "form": job.form, "text": job.text,
                "folder": str(self._fleet.folder),
            }
            for job in jobs
        ]  # fmt: skip
        names = sorted({name for job in jobs for name in job.targets})
        options = {"target": [",".join(names)] if names else [], "valid_for": 120.0, **jobs[0].options}
        self._ask(jobs, {"do": "submit", "files": files, "options": options})

    def _ask(self, jobs: list[Job], request: dict[str, Any]) -> None:
        try:
            link, _ = send(self.settings, request, [job.id for job in jobs])
            link.close()
            for job in jobs:
                job.acknowledged = True
        except DirectorError as error:
            self._refused(error)

    def _refused(self, error: DirectorError) -> None:
        text = f"{type(error).__name__}: {str(error)[:60]}"
        self.refused[text] = self.refused.get(text, 0) + 1

    def _by_command(self, job: Job) -> None:
        """Through the real command; it makes the id itself."""
        path = Path(self._fleet.folder, f"{job.id}.{'yaml' if job.form == 'yaml' else 'director'}")
        path.write_text(job.text)
        targets = ["--target", ",".join(job.targets)] if job.targets else []
        done = self._fleet.director("--orchestrate", str(path), *targets, "--valid-for", "120s", timeout=120)
        path.unlink()
        del self.jobs[job.id]
        if done.returncode == 0:
            job.id = done.stdout.strip()
            job.acknowledged = True
            self.jobs[job.id] = job
        else:
            assert done.returncode in (1, 2, 3, 5) and done.stderr, f"{done.returncode} {done.stdout} {done.stderr}"
            self.refused[f"command: {done.stderr[:60].strip()}"] = 1

    def _resume(self, dice: random.Random) -> None:
        known = [job for job in list(self.jobs.values()) if job.acknowledged and job.kind != "retrying"]
        if not known:
            return
        old = dice.choice(known)
        job = Job(new_job_id(), old.kind, old.steps, old.targets, old.options, resumes=old.id, form=old.form)
        self.jobs[job.id] = job
        try:
            self._ask([job], {"do": "resume", "id": old.id, "new_id": job.id, "options": {}})
        except UsageError as error:
            self.can_resume = "no command" not in str(error)
        if not job.acknowledged and any("no command" in text for text in self.refused):
            self.can_resume = False

    def _canceller(self, dice: random.Random) -> None:
        while not self._end.wait(dice.expovariate(1 / 1.5)):
            young = [job for job in list(self.jobs.values())[-8:] if job.acknowledged and not job.cancelled]
            if young:
                self._cancel(dice.choice(young))

    def _cancel(self, job: Job) -> None:
        for _ in range(50):
            try:
                with Connection(self.settings) as link:
                    link.ask({"do": "cancel", "ids": [job.id]})
                job.cancelled = True
                return
            except NoServerError:
                time.sleep(0.2)
            except DirectorError as error:
                self._refused(error)
                return
