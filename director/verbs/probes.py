"""WAIT and HEALTHCHECK: probe until a URL answers or a command succeeds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from director.errors import VerbError
from director.language.flags import Unrendered
from director.language.instructions import Instruction, strings
from director.states import SUCCESS
from director.verbs.base import Flag, Node, Outcome, Planning, Verb, success
from director.verbs.run import argv_of

_CHECK = "expected HEALTHCHECK CMD COMMAND, HEALTHCHECK --url URL or HEALTHCHECK NONE"
_WAIT = "expected one of --seconds N, --url URL, --cmd COMMAND"
_COMMAND = re.compile(r"CMD(?:\s+|$)(.*)", re.IGNORECASE | re.DOTALL)
_URL_FLAGS = (
    Flag("url", "str", "URL that must answer with 2xx or 3xx", metavar="URL", per_node=True),
    Flag("insecure", "bool", "accept any certificate", default=False),
)
_TIMES = (
    Flag("interval", "duration", "from one probe to the next", default=30.0),
    Flag("timeout", "duration", "how long one probe may take", default=30.0),
    Flag("start-period", "duration", "failures within it do not count", default=0.0),
    Flag("start-interval", "duration", "from one probe to the next within the start period", default=5.0),
    Flag("retries", "count", "failures in a row that fail the step", default=3, metavar="N"),
)


class _Probing(Verb):
    """Base of the two verbs; `probe` tries once.

    The body has `url` and `insecure`, `cmd` of the shell form, or `argv` of the JSON form.
    """

    always = True

    def only_reads(self, body: Mapping[str, Any]) -> bool:
        """Not when it runs a command."""
        return "cmd" not in body and "argv" not in body

    def raws(self, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """The URL, or the command, in which `$X` belongs to the shell."""
        if "url" in body:
            yield "document", body["url"]
        yield from (("text", word) for word in body.get("argv", ()))
        if "cmd" in body:
            yield "shell", body["cmd"]


class Wait(_Probing):
    """WAIT --seconds N, WAIT --url URL or WAIT --cmd COMMAND…: wait until the time is over, the URL answers with
    2xx or 3xx, or the command succeeds.

    The command is the rest of the line, in shell form or JSON form. A URL or a command is tried at most `--retry`
    times, with a pause of `--retry-wait` between two tries; then the step fails.

        WAIT --seconds 5
        WAIT --url http://localhost:8080/ready --retry 60
        WAIT --cmd test -e /run/app.pid
    """

    name = "WAIT"
    owned = frozenset(("seconds", "url", "cmd", "insecure", "retry", "retry-wait"))
    flags = (
        Flag("seconds", "duration", "how long to wait", metavar="N"),
        _URL_FLAGS[0],
        Flag("cmd", "rest", "the rest of the line: a command that must succeed", metavar="COMMAND"),
        _URL_FLAGS[1],
        Flag("retry", "count", "tries in all", aliases=("retries",), default=30, metavar="N"),
        Flag("retry-wait", "duration", "pause between two tries", default=1.0),
    )

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`seconds`; or `url`, `cmd` or `argv` with `retry` and `pause`."""
        flags = planning.flags
        kinds = [name for name in ("seconds", "url", "cmd") if name in flags]
        if len(kinds) != 1:
            raise planning.fail(f"WAIT waits for one thing; {_WAIT}")
        if instruction.text.strip() or instruction.args:
            raise planning.fail(f"WAIT --{kinds[0]} takes nothing behind its value; {_WAIT}")
        if "seconds" in flags:
            return {"seconds": flags["seconds"]}
        tries = {"retry": max(1, flags.get("retry", 30)), "pause": flags.get("retry-wait", 1.0)}
        if "url" in flags:
            return {**url_body(flags, planning), **tries}
        missing = "WAIT --cmd needs a command; expected WAIT --cmd COMMAND"
        return {**command_body(flags["cmd"], missing, planning), **tries}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Try until a try succeeds or none is left; the executor ends the step at its timeout."""
        if "seconds" in body:
            node.sleep(body["seconds"])
            return success()
        for left in range(body["retry"] - 1, -1, -1):
            fault, outcome = probe(body, node)
            if not fault:
                return outcome
            if left:
                node.sleep(body["pause"])
        raise VerbError(f"{fault} ({body['retry']} tries)" if body["retry"] > 1 else fault)


class HealthCheck(_Probing):
    """HEALTHCHECK [flags] CMD COMMAND, or HEALTHCHECK [flags] --url URL: probe until the first success.

    The first probe is made at once, the next ones at each `--interval`. The step succeeds with the first probe that
    does and fails after `--retries` failures in a row; failures within the start period do not count. Here `--timeout`
    limits one probe, not the step. HEALTHCHECK NONE does nothing.

        HEALTHCHECK --interval=5s --retries=6 CMD curl -fsS http://localhost/ready
        HEALTHCHECK --start-period=1m --url https://localhost/ready
    """

    name = "HEALTHCHECK"
    json_form = "CMD"
    flags = (*_TIMES, *_URL_FLAGS)
    owned = frozenset(flag.name for flag in flags)

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`none`; or `url`, `cmd` or `argv` with the flags' values."""
        flags, text = planning.flags, instruction.text.strip()
        if text.upper() == "NONE" and "url" not in flags:
            planning.note("HEALTHCHECK NONE has no effect: no check is inherited")
            return {"none": True}
        body: dict[str, Any] = {flag.name: flags.get(flag.name, flag.default) for flag in _TIMES}
        body["retries"] = max(1, body["retries"])
        body["interval"], body["start-interval"] = max(0.01, body["interval"]), max(0.01, body["start-interval"])
        if "url" in flags:
            if text:
                raise planning.fail(f"HEALTHCHECK --url takes no command; {_CHECK}")
            return {**body, **url_body(flags, planning)}
        match = _COMMAND.fullmatch(text)
        if match is None:
            raise planning.fail(f"HEALTHCHECK does not know {text.split()[0]!r}; {_CHECK}" if text else _CHECK)
        return {**body, **command_body(match[1], f"HEALTHCHECK CMD needs a command; {_CHECK}", planning)}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Probe at once, then at each interval."""
        if body.get("none"):
            return success()
        began = time.monotonic()
        failures = 0
        while True:
            at = time.monotonic()
            fault, outcome = probe(body, node, body["timeout"])
            if not fault:
                return outcome
            starting = time.monotonic() - began < body["start-period"]
            failures = 0 if starting else failures + 1
            if failures >= body["retries"]:
                raise VerbError(f"unhealthy: {fault} ({failures} in a row)")
            pause = body["start-interval" if starting else "interval"]
            node.sleep(max(0.0, at + pause - time.monotonic()))


def check_url(url: str, fail: Callable[[str], Exception]) -> SplitResult:
    """The parts of an http or https URL. Raises what `fail` makes for anything else."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise fail(f"{url!r} is not an address; expected http:// or https:// and a host")
    return parts


def url_body(flags: Mapping[str, Any], planning: Planning) -> dict[str, Any]:
    """`url` and `insecure`. A URL with templates is checked on the node, any other now; raises LanguageError."""
    url = flags["url"]
    if not isinstance(url, Unrendered):
        check_url(url, planning.fail)
    return {"url": str(url), "insecure": bool(flags.get("insecure"))}


def url_fault(url: str, timeout: float, insecure: bool) -> str:
    """ "" when `url` answers with 2xx or 3xx, else what went wrong.

    Args:
        timeout: seconds for connecting, and for each read.
        insecure: accept any certificate.

    Raises:
        VerbError: `url` is no http or https URL.
    """
    import ssl
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    parts = check_url(url, VerbError)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(str(parts.hostname), parts.port, timeout=timeout, context=context)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "director", "Accept": "*/*"})
        status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        return f"{url}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"{url}: answered {status}"


def command_body(text: str, missing: str, planning: Planning) -> dict[str, Any]:
    """`cmd` of the shell form or `argv` of the JSON form; text that is no valid JSON is the shell form.

    Raises LanguageError for a JSON list of anything but strings, and with the text `missing` for no command.
    """
    try:
        words = strings(text)
    except ValueError as error:
        raise planning.fail(str(error)) from None
    if not (words[0] if words else words is None and text.strip()):
        raise planning.fail(missing)
    return {"cmd": text.strip()} if words is None else {"argv": list(words)}


def probe(body: Mapping[str, Any], node: Node, timeout: float | None = None) -> tuple[str, Outcome]:
    """Try once; what went wrong ("" for nothing), and the outcome.

    Args:
        timeout: seconds for the try; None: what is left of the step's time, at most 30 s for a URL.

    Raises:
        VerbError: the rendered URL is no http or https URL, or a template fails.
    """
    if "url" in body:
        seconds = max(1.0, min(30.0, node.remaining())) if timeout is None else timeout
        return url_fault(node.document(body["url"]), seconds, body["insecure"]), success()
    outcome = node.run(argv_of(body, node), timeout=timeout)
    return _command_fault(outcome), outcome


def _command_fault(outcome: Outcome) -> str:
    if outcome.state == SUCCESS:
        return ""
    last = (outcome.stderr.strip() or outcome.stdout.strip()).decode("utf-8", "replace").rpartition("\n")[2]
    reason = outcome.reason or "the command failed"
    return reason if not last or last[:200] in reason else f"{reason}: {last[:200]}"
