"""The program: loads the settings and runs the action; an error is one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from director import TYPE_CHECKING
from director.errors import EXIT_FAILED, EXIT_INTERRUPTED, DirectorError

if TYPE_CHECKING:
    from director.config.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these words, those of `sys.argv` when None; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["--complete"]:
            from director.cli.completion import complete

            return complete(argv[1:])
        from director.cli import run
        from director.cli.unquoted import join_instruction
        from director.config.commands import in_flags
        from director.config.settings import load

        settings = load(join_instruction(in_flags(argv)))
        for warning in settings.warnings:
            say(f"warning: {warning}")
        return _profiled(settings) if settings.profile else run(settings)
    except DirectorError as error:
        return _failed(error.exit_code, *(error.lines or [str(error)]))
    except KeyboardInterrupt:
        return _failed(EXIT_INTERRUPTED, "interrupted")
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(EXIT_FAILED, f"{place}{error.strerror or error}")
    except Exception as error:
        text = f"this should not happen: {type(error).__name__}: {error} (DIRECTOR_DEBUG=1 shows where)"
        return _failed(EXIT_FAILED, text)


def _profiled(settings: Settings) -> int:
    from director.cli import run
    from director.runtime import profiling

    profiling.start(settings.profile, settings.action or "help")
    try:
        return run(settings)
    finally:
        profiling.finish()


def _failed(code: int, *lines: str) -> int:
    if os.environ.get("DIRECTOR_DEBUG"):
        import traceback

        traceback.print_exc()
    for line in lines:
        say(line)
    return code


def say(text: str) -> None:
    """Write one line to stderr."""
    from director.cli.output import note

    note(text)


def hold_standard_streams() -> None:
    """Open /dev/null for each closed standard descriptor, so that no socket or file gets its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def program() -> None:
    """The console script; it ends by `os._exit`, as the shutdown of the interpreter takes milliseconds."""
    hold_standard_streams()
    code = main()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or EXIT_FAILED
    os._exit(code)


if __name__ == "__main__":
    program()
