"""Becomes another user and then a program: `spawn` runs it as a script, and shares its lookup of programs.

Arguments: uid gid groups cwd report -- program argument…  (`-` for unchanged, an empty cwd for none; `report` is the
descriptor for one line when it fails). It imports `os`, `pwd` and `sys` only, as it runs before every step of another
user.
"""

import os
import pwd
import sys

NOT_FOUND = 127
NOT_STARTED = 126
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartFailure(Exception):
    """A program that cannot be started: a shell's exit code and one line for a person."""

    def __init__(self, exit_code: int, reason: str) -> None:
        self.exit_code = exit_code
        self.reason = reason
        super().__init__(reason)


def environment() -> "dict[bytes, bytes]":
    """The environment as it was given: Python may have added LC_CTYPE to `os.environ`."""
    try:
        with open("/proc/self/environ", "rb") as file:
            lines = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    pairs = (line.partition(b"=") for line in lines if line)
    return {name: value for name, _, value in pairs}


def become(uid: str, gid: str, groups: str) -> None:
    """Change groups, group and user; what is not given goes with the user, by the user database."""
    name, own = "", -1
    if uid != "-":
        try:
            entry = pwd.getpwuid(int(uid))
            name, own = entry.pw_name, entry.pw_gid
        except KeyError:
            own = os.getegid()
    group = own if gid == "-" else int(gid)
    if groups != "-":
        os.setgroups([int(word) for word in groups.split(",") if word])
    elif name:
        os.initgroups(name, group)
    elif uid != "-":
        os.setgroups([group])
    if group >= 0:
        os.setresgid(group, group, group)
    if uid != "-":
        os.setresuid(int(uid), int(uid), int(uid))


def find(name: bytes, env: "dict[bytes, bytes]") -> bytes:
    """The path of a program by the PATH of `env`, as this user sees it. Raises StartFailure."""
    if b"/" in name:
        return name
    refused = b""
    for folder in env.get(b"PATH", DEFAULT_PATH).split(b":"):
        path = os.path.join(folder or b".", name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            refused = path
    if refused:
        raise StartFailure(NOT_STARTED, "not executable: " + os.fsdecode(refused))
    raise StartFailure(NOT_FOUND, "no such program: " + os.fsdecode(name))


def failure(path: str, error: OSError) -> StartFailure:
    """Why the program of this path was not started."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        if os.path.lexists(path):
            return StartFailure(NOT_FOUND, "cannot start " + path + ": its interpreter or link does not exist")
        return StartFailure(NOT_FOUND, "no such program: " + path)
    if isinstance(error, PermissionError):
        return StartFailure(NOT_STARTED, "not executable: " + path)
    return StartFailure(NOT_STARTED, "cannot start " + path + ": " + str(error.strerror))


def launch(arguments: "list[str]") -> None:
    """Replace this process by the program. Raises StartFailure."""
    uid, gid, groups, cwd = arguments[:4]
    argv = [os.fsencode(word) for word in arguments[6:]]
    env = environment()
    try:
        become(uid, gid, groups)
    except OSError as error:
        raise StartFailure(NOT_STARTED, "may not become user " + uid + ": " + str(error.strerror)) from None
    try:
        if cwd:
            os.chdir(cwd)
    except OSError as error:
        raise StartFailure(NOT_STARTED, "working folder " + cwd + ": " + str(error.strerror)) from None
    path = find(argv[0], env)
    try:
        os.execve(path, argv, env)
    except OSError as error:
        raise failure(os.fsdecode(path), error) from None


def main() -> None:
    """Launch, or report why not and end with a shell's exit code."""
    report = sys.argv[5]
    if report != "-":
        os.set_inheritable(int(report), False)
    try:
        launch(sys.argv[1:])
    except StartFailure as failure:
        if report != "-":
            os.write(int(report), os.fsencode(failure.reason))
        os._exit(failure.exit_code)


if __name__ == "__main__":
    main()
