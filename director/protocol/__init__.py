"""Messages and frames between processes, encrypted sockets, keys."""
