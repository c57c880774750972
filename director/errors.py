"""The errors of Director; each class is named after what the user can do, and has an exit code."""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_SERVER = 3
EXIT_WAIT_TIMEOUT = 4
EXIT_NO_TARGET = 5
EXIT_NOT_FOUND = 6
EXIT_NOT_PERMITTED = 7
EXIT_INCOMPLETE = 8
EXIT_INTERRUPTED = 130


class DirectorError(Exception):
    """Base of every error that Director raises itself; `str(error)` is one line.

    Attributes:
        lines: one line for each of several errors; () for a single error.
    """

    exit_code = EXIT_FAILED
    lines: tuple[str, ...] = ()


class StartError(DirectorError):
    """The server or the client cannot start (port in use, state folder taken, key missing)."""


class UsageError(DirectorError):
    """The call, a file or a setting cannot be read or parsed."""

    exit_code = EXIT_USAGE


class LanguageError(UsageError):
    """An orchestration text is wrong; the message is `FILE:LINE: what is wrong; what was expected`.

    Args:
        message: what is wrong and what was expected, without the place.
        file: the file's name as the user gave it (`exec` for `--exec`, `-` for standard input).
        line: 1-based line on which the instruction begins.
    """

    def __init__(self, message: str, file: str = "exec", line: int = 1) -> None:
        self.message = message.replace("\r", "\\r").replace("\n", "\\n")  # one line, also when it quotes the text
        self.file = file
        self.line = line
        super().__init__(f"{file}:{line}: {self.message}")


class LanguageErrors(LanguageError):
    """Several errors in one orchestration text; `str(error)` is the first, `lines` has all of them.

    Args:
        found: in the order of lines; with a LanguageError among them the exit code is EXIT_USAGE.
        more: an additional last line, "" for none.
    """

    def __init__(self, found: Sequence[LanguageError | NoTargetError], more: str = "") -> None:
        unreadable = [error for error in found if isinstance(error, LanguageError)]
        self.message, self.file = (unreadable[0].message, unreadable[0].file) if unreadable else (str(found[0]), "")
        self.line = found[0].line
        self.exit_code = EXIT_USAGE if unreadable else EXIT_NO_TARGET
        self.lines = (*map(str, found), *([more] if more else []))
        Exception.__init__(self, self.lines[0])


class NoServerError(DirectorError):
    """No server answers at the operator's socket."""

    exit_code = EXIT_NO_SERVER


class WaitTimeoutError(DirectorError):
    """`--wait-timeout` has passed."""

    exit_code = EXIT_WAIT_TIMEOUT


class NoTargetError(DirectorError):
    """A target selects nothing, or names an unknown node.

    Args:
        text: the whole message, with file and line.
        line: 1-based line of the orchestration text, 0 when the target is not from one.
    """

    exit_code = EXIT_NO_TARGET

    def __init__(self, text: str, line: int = 0) -> None:
        self.line = line
        super().__init__(text)


class NotFoundError(DirectorError):
    """No such job or node."""

    exit_code = EXIT_NOT_FOUND


class NotPermittedError(DirectorError):
    """The caller has no permission, or the server's key is not the pinned one."""

    exit_code = EXIT_NOT_PERMITTED


class BusyError(DirectorError):
    """A limit is reached (queue, connections, open tasks); a later try may succeed."""


class StoreError(DirectorError):
    """The ledger cannot be written or read (full disk, newer schema)."""


class ProtocolError(DirectorError):
    """A peer sent what the protocol does not allow; logged and counted, but not shown to an operator."""


class VerbError(DirectorError):
    """A verb failed on the node without an exit code; the message is the reason of the task."""


class RefusedError(VerbError):
    """The settings of the node's client forbid the step; the message names the setting."""


class LateError(VerbError):
    """A verb waited for its step's whole time; the state of the task is `timeout`."""


_SENT = (DirectorError, UsageError, NoServerError, NoTargetError, NotFoundError, NotPermittedError)  # to calls
BY_EXIT_CODE: dict[int, type[DirectorError]] = {error.exit_code: error for error in _SENT}
