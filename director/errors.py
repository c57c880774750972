"""One tree of errors; each class is named after what the user can do about it and carries its exit code."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    """Base of every error that Director raises on purpose; `str(error)` is one line for a person.

    Attributes:
        lines: of several errors in one a line each; () when it is one.
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
        self.message = message.replace("\r", "\\r").replace("\n", "\\n")  # one line, whatever was quoted
        self.file = file
        self.line = line
        super().__init__(f"{file}:{line}: {self.message}")


class LanguageErrors(LanguageError):
    """Several things are wrong in one orchestration text; `str(error)` is the first, `lines` has all of them.

    Args:
        found: in the order of lines; the exit code is that of a text that cannot be read if any is.
        more: a last line, "" for none.
    """

    def __init__(self, found: Sequence[LanguageError | NoTargetError], more: str = "") -> None:
        unreadable = [error for error in found if isinstance(error, LanguageError)]
        self.message, self.file = (unreadable[0].message, unreadable[0].file) if unreadable else (str(found[0]), "")
        self.line = found[0].line
        self.exit_code = EXIT_USAGE if unreadable else EXIT_NO_TARGET
        self.lines = (*map(str, found), *([more] if more else []))
        Exception.__init__(self, self.lines[0])


class NoServerError(DirectorError):
    """Nobody answers at the operator's socket."""

    exit_code = EXIT_NO_SERVER


class WaitTimeoutError(DirectorError):
    """`--wait-timeout` has passed."""

    exit_code = EXIT_WAIT_TIMEOUT


class NoTargetError(DirectorError):
    """A target matches nothing or names an unknown node.

    Args:
        text: the whole message, its place included.
        line: 1-based line of the orchestration text, 0 when the target stands in none.
    """

    exit_code = EXIT_NO_TARGET

    def __init__(self, text: str, line: int = 0) -> None:
        self.line = line
        super().__init__(text)


class NotFoundError(DirectorError):
    """No such job or node."""

    exit_code = EXIT_NOT_FOUND


class NotPermittedError(DirectorError):
    """The caller may not do this, or the server's key is not the pinned one."""

    exit_code = EXIT_NOT_PERMITTED


class BusyError(DirectorError):
    """A bound was reached (queue, connections, open tasks); trying again later helps."""


class StoreError(DirectorError):
    """The ledger cannot be written or read (full disk, newer schema)."""


class ProtocolError(DirectorError):
    """A peer sent what the protocol does not allow; never shown to an operator, counted and logged."""


class VerbError(DirectorError):
    """A verb failed on the node for a reason that is not an exit code; the text becomes the task's reason."""


class LateError(VerbError):
    """A verb waited for something within its step's time, and it did not come; the task's state is `timeout`."""


BY_EXIT_CODE: dict[int, type[DirectorError]] = {
    EXIT_FAILED: DirectorError,
    EXIT_USAGE: UsageError,
    EXIT_NO_SERVER: NoServerError,
    EXIT_NO_TARGET: NoTargetError,
    EXIT_NOT_FOUND: NotFoundError,
    EXIT_NOT_PERMITTED: NotPermittedError,
}
