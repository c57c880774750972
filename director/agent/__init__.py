"""The client's gevent process: its connection, the jobs it holds, and how it applies their steps."""
