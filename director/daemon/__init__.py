"""The two long-running programs: each patches gevent, wires its parts, runs them and stops them."""
