"""Settings: one table, read from flags, environment and files into one frozen object."""
