"""The client's journal: what it was given, began and brought about, until the server has it."""

from director.journal.book import Boot, Journal, SpoolFullError
from director.journal.records import JobRecord, Kept, Slice

__all__ = ["Boot", "JobRecord", "Journal", "Kept", "Slice", "SpoolFullError"]
