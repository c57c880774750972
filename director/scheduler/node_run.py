"""One job on one node: a state letter for each step, and how far the node was handed steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from director import states as st

OPEN = bytes(st.OPEN)
HANDED = bytes((st.SENT, st.RUNNING))
WAITING = bytes((st.QUEUED,))


@dataclass(slots=True, eq=False)
class Load:
    """What one node holds of all jobs.

    Attributes:
        handed: tasks that are sent or running.
        starved: jobs that found no room on the node, the longest waiting first; None for none.
    """

    handed: int = 0
    starved: dict[str, None] | None = None


@dataclass(slots=True, eq=False)
class NodeRun:
    """One job on one node.

    Attributes:
        states: one letter of `director.states` for each step.
        cursor: the first step that was not handed to the node yet.
        open: tasks that are not final.
        handed: tasks that are sent or running.
        waived: barriers do not wait for the node, as it was offline when the job began.
        chunk: first step of the newest chunk sent in the node's present session, -1 for none.
        sent_at: monotonic time at which steps were last handed to it.
        epoch: grows when steps are taken back; slices of an older epoch are void.
        closed: the node was told to forget the job.
        started: running step to the epoch seconds at which it started.
        load: what the node holds of all jobs.
    """

    node: str
    states: bytearray
    waived: bool
    cursor: int = 0
    open: int = 0
    handed: int = 0
    chunk: int = -1
    sent_at: float = 0.0
    epoch: int = 0
    closed: bool = False
    started: dict[int, float] = field(default_factory=dict)
    load: Load = field(default_factory=Load)

    def count(self, more: int) -> None:
        """The node holds `more` tasks of this job than before; may be negative."""
        self.handed += more
        self.load.handed += more

    def move_load(self, load: Load) -> None:
        """Count the tasks of this job in `load` from now on."""
        self.load.handed -= self.handed
        load.handed += self.handed
        self.load = load

    def has(self, step: int) -> bool:
        """Whether the node has a task of this step."""
        return 0 <= step < len(self.states) and self.states[step] != st.NONE

    def first_open(self) -> int:
        """The lowest step that is not final, or the number of steps."""
        found = [self.states.find(letter) for letter in OPEN]
        return min((index for index in found if index >= 0), default=len(self.states))
