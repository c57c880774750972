"""The machine's own limits, each a small program that does the same work without director."""
