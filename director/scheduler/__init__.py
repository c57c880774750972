"""Pure scheduling state: no sockets, no disk, no clock of its own."""
