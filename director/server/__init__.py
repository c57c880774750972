"""The server's main process: sessions, scheduling, dispatch, enrolment."""
