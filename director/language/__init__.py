"""Readers of the two forms of the language, and what templates and `$X` do to their words."""
