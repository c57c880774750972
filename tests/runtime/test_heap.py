"""Large blocks are used again without being mapped anew, and freed memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

from harness import ROOT

TEXT = """
import os, resource
from director.runtime import heap

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

heap.set_up()
heap.trim()
assert not heap.has_grown()
piece = bytes(1 << 20)
before = faults()
for _ in range(100):
    piece = b"".join((piece[: 1 << 19], piece[1 << 19 :]))
print(faults() - before)
many = [os.urandom(1 << 20) for _ in range(50)]
assert heap.has_grown()
full = resident()
del many
heap.trim()
print(full - resident() >> 20)
assert not heap.has_grown()
"""


def test_a_piece_takes_no_new_pages_and_a_trim_gives_them_back() -> None:
    done = subprocess.run([sys.executable, "-c", TEXT], cwd=ROOT, capture_output=True, text=True, check=True)
    faults, given_back = map(int, done.stdout.split())
    assert faults < 5000, "each of 100 pieces would take 768 pages and more"
    assert given_back >= 40
