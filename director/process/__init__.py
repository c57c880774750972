"""Runs one process of a task to its end, with everything it started: `run(Spec(...)) -> Result`.

All of it is for the one thread that runs the gevent hub, with `os`, `signal` and `subprocess` unpatched:
`monkey.patch_all(os=False, signal=False, subprocess=False)`.
"""

from director.process.bounds import default_pids
from director.process.cgroup import CGROUP
from director.process.descendants import become_subreaper, end_leftovers, reap_adopted
from director.process.runner import cancel, run
from director.process.spawn import Handle, Result, Spec, seal_descriptors

__all__ = [
    "CGROUP",
    "Handle",
    "Result",
    "Spec",
    "become_subreaper",
    "cancel",
    "default_pids",
    "end_leftovers",
    "reap_adopted",
    "run",
    "seal_descriptors",
]
