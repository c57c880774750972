"""What travels between processes: messages, frames, encrypted sockets, keys."""
