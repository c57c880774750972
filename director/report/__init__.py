"""What the server answers, as text: table, JSON, JSON lines, YAML, CSV; every piece of it is for stdout."""
