"""Benches: each file is one row of the table, measured beside its limit on the same machine in the same run."""
