"""The client's journal: what it was given, began and brought about, until the server has it."""

from director.agent.journal.journal import Boot, Journal, SpoolFullError
from director.agent.journal.state import JobRecord, Kept, Slice

__all__ = ["Boot", "JobRecord", "Journal", "Kept", "Slice", "SpoolFullError"]
