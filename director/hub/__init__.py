"""The server's gevent process, a room for each concern: sessions, jobs, transfers, enrolment, the operator's socket."""
