"""RUN: runs a command on the node: with a shell, without one, or as a script."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from director.errors import VerbError
from director.language.heredocs import closed_up
from director.language.instructions import Heredoc, Instruction
from director.language.words import quoted
from director.states import FAILED, SUCCESS
from director.verbs.base import Flag, Node, Outcome, Planning, Verb

SHELL = ("/bin/sh", "-c")
_WITHOUT_EFFECT = {
    "network": (("default", "host"), "a RUN uses the node's network"),
    "security": (("insecure",), "a RUN is not confined"),
}
# for a detached script, which must remove its file itself
_AND_REMOVE = 'f=$1; shift; "$@" "$f"; s=$?; rm -f -- "$f"; exit $s'


class Run(Verb):
    """RUN [flags] COMMAND: run a command on the node.

    The shell form is run by `/bin/sh -c` (or what SHELL names); the JSON form runs a program without a shell.
    Standard input is empty. The step fails when the exit code is not 0.

        RUN systemctl is-active nginx || echo down
        RUN ["/usr/bin/id", "-u"]
        RUN --retry 3 --timeout 1m curl -fsS http://localhost/
        RUN <<EOF
        set -e
        cd /srv/app && ./migrate
        EOF

    A heredoc that is the whole command is a script for the shell, or for the interpreter of its `#!` line;
    `RUN <<EOF python3` gives it to a program as standard input. Braces in it are rendered unless the delimiter is
    quoted. All processes that the command started are ended with it, except with `--no-block`.

    A secret of `--secret` is a variable of the command, or a file in memory that only its user can read, at
    `/run/secrets/NAME` unless `target` says where. It is gone when the step has ended.

        RUN --mount=type=secret,id=db,env=PGPASSWORD psql -h db -c 'select 1'
        RUN --mount=type=secret,id=key,target=/run/tls.key nginx -t
    """

    name = "RUN"
    json_form = True
    heredocs = True
    command = True
    needs = "a command"
    trusts_chain = True
    flags = (
        Flag("user", "str", "run as this user[:group]", metavar="USER"),
        Flag("ok-codes", "ints", "exit codes that count as success (default 0 alone)"),
        Flag("retry", "count", "attempts in all, with growing pauses", aliases=("retries",), metavar="N"),
        Flag("no-block", "bool", "start it in its own session, do not wait for it, never end it", default=False),
        Flag(
            "mount",
            "str",
            "type=secret,id=NAME[,env=VARIABLE|target=PATH], or type=cache,target=FOLDER",
            repeatable=True,
        ),
        Flag("network", "str", "default or host: both mean the node's own", metavar="MODE"),
        Flag("security", "str", "insecure: a RUN is never confined", metavar="MODE"),
        Flag("device", "str", "refused: a RUN has all devices of the node", repeatable=True),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`cmd` or `argv` or `script` or `parts` [[text, render]]; `folders` and `secrets` of mounts."""
        body = _command(instruction, planning)
        _check_promises(planning.flags, planning)
        for text in planning.flags.pop("mount", ()):
            pairs = dict(item.partition("=")[::2] for item in text.split(","))
            if pairs.get("type") == "secret":
                from director.verbs import secret_mounts

                body.setdefault("secrets", []).append(secret_mounts.parse(pairs, planning))
            else:
                body.setdefault("folders", []).append(_cache_mount(pairs, planning))
        return body

    def raws(self, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """The command; a heredoc with a quoted delimiter is never rendered. What a shell reads is one text."""
        parts = [(body.get("cmd", ""), True), (body.get("script", ""), body.get("render")), *body.get("parts", ())]
        yield from (("text", text) for text in body.get("argv", ()))
        if text := "".join(text for text, render in parts if render):
            yield "shell", text
        yield from (("word", folder["path"]) for folder in body.get("folders", ()))

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Run it once; the exit code decides."""
        if "cmd" in body and not flags and len(body) == 1:  # the usual case, kept short
            return node.run([*(node.scope.shell or SHELL), node.shell(body["cmd"])])
        return _apply_with_flags(body, flags, node)


def _apply_with_flags(body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
    if "folders" in body:
        from director.verbs.folders import make_cache_folder

        for folder in body["folders"]:
            make_cache_folder(folder, node)
    if "secrets" in body:
        from director.verbs.secret_mounts import mounted

        with mounted(body["secrets"], flags.get("user"), node) as env:
            outcome = _run_once(body, flags, env, node)
    else:
        outcome = _run_once(body, flags, {}, node)
    return judge(outcome, flags["ok-codes"]) if "ok-codes" in flags else outcome


def _run_once(body: Mapping[str, Any], flags: Mapping[str, Any], env: Mapping[str, str], node: Node) -> Outcome:
    user, detach = flags.get("user"), bool(flags.get("no-block"))
    if "script" in body:
        return _run_script(body, user, detach, env, node)
    return node.run(argv_of(body, node), user=user, detach=detach, env=env)


def _run_script(body: Mapping[str, Any], user: str | None, detach: bool, env: Mapping[str, str], node: Node) -> Outcome:
    """Run `body["script"]` with the interpreter of its first line, from a private file that is removed afterwards."""
    import tempfile

    text = node.shell(body["script"]) if body["render"] else body["script"]
    interpreter = text.partition("\n")[0][2:].strip().split(None, 1)
    if not interpreter:
        raise VerbError("the script's #! line names no interpreter")
    if node.hide(text) != text:
        raise VerbError("a secret would be in the script's file on disk; give it as a variable, and use that")
    fd, path = tempfile.mkstemp(prefix="director-run-")
    started = False
    try:
        with open(fd, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            if owner := user or node.scope.user:
                os.fchown(fd, *node.identity(owner))
        if not detach:
            return node.run([*interpreter, path], user=user, env=env)
        started = True
        return node.run(["/bin/sh", "-c", _AND_REMOVE, "sh", path, *interpreter], user=user, detach=True)
    finally:
        if not started:
            os.unlink(path)


def judge(outcome: Outcome, ok_codes: Iterable[int]) -> Outcome:
    """The outcome of a process that ended by itself, where these exit codes mean success instead of 0."""
    if outcome.exit_code is None or outcome.state not in (SUCCESS, FAILED):
        return outcome
    if outcome.exit_code in ok_codes:
        outcome.state, outcome.reason = SUCCESS, ""
    elif outcome.state == SUCCESS:
        outcome.state = FAILED
        codes = ",".join(map(str, ok_codes))
        outcome.reason = f"exit code {outcome.exit_code}, and --ok-codes are {codes}"
    return outcome


def argv_of(body: Mapping[str, Any], node: Node) -> list[str]:
    """The words of a command that is `cmd`, `argv` or `parts` of a body, rendered. Raises VerbError."""
    if "argv" in body:
        return [node.text(word) for word in body["argv"]]
    parts = body.get("parts") or ((body["cmd"], True),)
    text = "".join(node.shell(part) if render else part for part, render in parts)
    return [*(node.scope.shell or SHELL), text]


def _command(instruction: Instruction, planning: Planning) -> dict[str, Any]:
    if instruction.args is not None:
        if not instruction.args or not instruction.args[0]:
            raise planning.fail("RUN needs a command; expected a program in the JSON form")
        return {"argv": list(instruction.args)}
    text = instruction.text.strip()
    if not text:
        raise planning.fail("RUN needs a command")
    if not instruction.heredocs:
        return {"cmd": text}
    if len(instruction.heredocs) == 1 and is_only_heredoc(text):
        return _script(instruction.heredocs[0])
    parts: list[tuple[str, bool]] = [(text + "\n", True)]
    for heredoc in instruction.heredocs:
        parts += [(heredoc.content, heredoc.expand), (heredoc.name + "\n", True)]
    if all(render for _, render in parts):
        return {"cmd": "".join(part for part, _ in parts)}
    return {"parts": parts}


def is_only_heredoc(text: str) -> bool:
    """Whether a command is nothing but `<<NAME`."""
    return text.lstrip("0123456789").startswith("<<") and len(quoted(closed_up(text))) == 1


def _script(heredoc: Heredoc) -> dict[str, Any]:
    if heredoc.content.startswith("#!"):
        return {"script": heredoc.content, "render": heredoc.expand}
    return {"cmd": heredoc.content} if heredoc.expand else {"parts": [[heredoc.content, False]]}


def _check_promises(flags: dict[str, Any], planning: Planning) -> None:
    """Refuse flags that cannot be obeyed, note those that have no effect; none of them travels to the nodes."""
    if flags.pop("device", None):
        raise planning.fail("--device cannot restrict: a RUN has all devices of the node; expected no --device")
    for flag, (allowed, why) in _WITHOUT_EFFECT.items():
        value = flags.pop(flag, None)
        if value not in (None, *allowed):
            raise planning.fail(f"--{flag}={value} is not supported; expected {' or '.join(allowed)}")
        if value:
            planning.note(f"--{flag}={value} has no effect: {why}")


def _cache_mount(pairs: Mapping[str, str], planning: Planning) -> dict[str, Any]:
    kind = pairs.get("type", "bind")
    if kind != "cache":
        raise planning.fail(
            f"--mount=type={kind} is not known; expected type=secret,id=NAME or type=cache,target=FOLDER"
        )
    path = pairs.get("target") or pairs.get("dst") or pairs.get("destination")
    if not path:
        raise planning.fail("--mount=type=cache needs a folder; expected target=FOLDER")
    planning.note(f"--mount=type=cache: the folder {path} is made on the node and kept")
    uid, gid, mode = pairs.get("uid", ""), pairs.get("gid", ""), pairs.get("mode", "0755")
    for text in filter(None, (uid, gid)):
        if not text.isdecimal():
            raise planning.fail(f"--mount: {text!r} is no number; expected uid=N,gid=N")
    if not re.fullmatch("[0-7]+", mode):
        raise planning.fail(f"--mount: mode={mode} is not octal; expected something like mode=0755")
    owner = {"owner": f"{uid or 0}:{gid or uid or 0}"} if uid or gid else {}
    return {"path": path, "mode": int(mode, 8) & 0o7777, **owner}
