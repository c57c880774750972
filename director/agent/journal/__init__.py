"""The client's append-only log of what it was given, began and finished."""

from director.agent.journal.journal import Journal, SpoolFullError

__all__ = ["Journal", "SpoolFullError"]
