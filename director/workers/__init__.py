"""The server's child processes: planners, and the keeper of the ledger."""
