"""Becomes another user and then a program: run as a script by the process runner, never imported by it.

Arguments: uid gid groups cwd report -- program argument…  (`-` for "as it is", an empty cwd for none;
`report` is the descriptor that takes one line when it fails). Only `os`, `pwd` and `sys`, as it runs
before every step of another user.
"""

import os
import pwd
import sys

NOT_FOUND = 127
NOT_STARTED = 126


class Refused(Exception):
    """What stopped the start: an exit code and a reason."""


def environment() -> "dict[bytes, bytes]":
    """The environment as it was given: Python itself may have added LC_CTYPE to its own."""
    try:
        with open("/proc/self/environ", "rb") as file:
            lines = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    pairs = (line.partition(b"=") for line in lines if line)
    return {name: value for name, _, value in pairs}


def become(uid: str, gid: str, groups: str) -> None:
    """Change groups, group and user for good; without `groups` they are those of the user database."""
    if uid != "-":
        become_group(int(uid), gid, groups)
        os.setresuid(int(uid), int(uid), int(uid))
        return
    if groups != "-":
        os.setgroups([int(word) for word in groups.split(",") if word])
    if gid != "-":
        os.setresgid(int(gid), int(gid), int(gid))


def become_group(uid: int, gid: str, groups: str) -> None:
    """The groups and the group that go with a user."""
    try:
        entry = pwd.getpwuid(uid)
        name, own = entry.pw_name, entry.pw_gid
    except KeyError:
        name, own = "", os.getegid()
    group = own if gid == "-" else int(gid)
    if groups != "-":
        os.setgroups([int(word) for word in groups.split(",") if word])
    elif name:
        os.initgroups(name, group)
    else:
        os.setgroups([group])
    os.setresgid(group, group, group)


def find(name: bytes, env: "dict[bytes, bytes]") -> bytes:
    """The program on the environment's PATH, as the user who will run it sees it."""
    if b"/" in name:
        return name
    refused = b""
    for folder in env.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        path = os.path.join(folder or b".", name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            refused = path
    if refused:
        raise Refused(NOT_STARTED, "not executable: " + os.fsdecode(refused))
    raise Refused(NOT_FOUND, "no such program: " + os.fsdecode(name))


def launch(arguments: "list[str]") -> None:
    """Replace this process; raises Refused."""
    uid, gid, groups, cwd = arguments[:4]
    argv = [os.fsencode(word) for word in arguments[6:]]
    env = environment()
    try:
        become(uid, gid, groups)
    except OSError as error:
        raise Refused(NOT_STARTED, "may not become user " + uid + ": " + str(error.strerror)) from None
    try:
        if cwd:
            os.chdir(cwd)
    except OSError as error:
        raise Refused(NOT_STARTED, "working folder " + cwd + ": " + str(error.strerror)) from None
    path = find(argv[0], env)
    try:
        os.execve(path, argv, env)
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        text = "no such program" if missing else "cannot start (" + str(error.strerror) + ")"
        raise Refused(NOT_FOUND if missing else NOT_STARTED, text + ": " + os.fsdecode(path)) from None


def main() -> None:
    """Launch, or say why not and end with a shell's exit code."""
    report = sys.argv[5]
    if report != "-":
        os.set_inheritable(int(report), False)
    try:
        launch(sys.argv[1:])
    except Refused as refused:
        exit_code, reason = refused.args
        if report != "-":
            os.write(int(report), os.fsencode(reason))
        os._exit(exit_code)


if __name__ == "__main__":
    main()
