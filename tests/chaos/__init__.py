"""The chaos suite: a real fleet behind a fault-injecting proxy, work for it, faults by a seed, and a checker."""
