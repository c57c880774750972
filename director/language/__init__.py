"""Reads both forms of the language into instructions; replaces templates and `$X` in their words."""
