"""The server's child processes (planners, ledger, files) and their supervisor."""
