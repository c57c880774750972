"""The client's append-only log of what it was given, began and finished."""

from director.agent.journal.journal import Journal, SpoolFullError
from director.agent.journal.memory import MemoryJournal

ClientJournal = Journal | MemoryJournal

__all__ = ["ClientJournal", "Journal", "MemoryJournal", "SpoolFullError"]
