"""Probes for WAIT and HEALTHCHECK: whether a URL answers or a command succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from director.errors import VerbError
from director.language.builder import strings
from director.language.flags import Unrendered
from director.states import SUCCESS
from director.verbs.base import Node, Outcome, success
from director.verbs.run import SHELL

if TYPE_CHECKING:
    from http.client import HTTPConnection


def check_url(url: str, fail: Callable[[str], Exception]) -> SplitResult:
    """The parts of an http or https URL. Raises `fail(…)` for anything else."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise fail(f"{url!r} is not an address; expected http:// or https:// and a host")
    return parts


def url_body(flags: Mapping[str, Any], fail: Callable[[str], Exception]) -> dict[str, Any]:
    """`url` and `insecure`. A URL with templates is checked on the node, any other now; raises `fail(…)`."""
    url = flags["url"]
    if not isinstance(url, Unrendered):
        check_url(url, fail)
    return {"url": str(url), "insecure": bool(flags.get("insecure"))}


def url_fault(url: str, timeout: float, insecure: bool) -> str:
    """ "" when `url` answers with 2xx or 3xx, else what went wrong.

    Args:
        timeout: seconds for connecting, and for each read.
        insecure: accept any certificate.

    Raises:
        VerbError: `url` is no http or https URL.
    """
    from http.client import HTTPException

    parts = check_url(url, VerbError)
    connection = _connection(parts, timeout, insecure)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "director", "Accept": "*/*"})
        status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        return f"{url}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"{url}: answered {status}"


def command_body(text: str, fail: Callable[[str], Exception]) -> dict[str, Any] | None:
    """`{"cmd"}` of the shell form or `{"argv"}` of the JSON form; None when there is no command.

    Text that is no valid JSON is the shell form. Raises `fail(…)` for a JSON list of anything but strings.
    """
    try:
        words = strings(text)
    except ValueError as error:
        raise fail(str(error)) from None
    if words is None:
        return {"cmd": text.strip()} if text.strip() else None
    return {"argv": list(words)} if words and words[0] else None


def probe_raws(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The raw texts of a probe's body: its URL, or its command, in which `$X` belongs to the shell."""
    if "url" in body:
        yield "document", body["url"]
    yield from (("text", text) for text in (*body.get("argv", ()), *([body["cmd"]] if "cmd" in body else ())))


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
    if "argv" in body:
        argv = [node.text(word) for word in body["argv"]]
    else:
        argv = [*(node.scope.shell or SHELL), node.text(body["cmd"])]
    outcome = node.run(argv, timeout=timeout)
    return _command_fault(outcome), outcome


def _command_fault(outcome: Outcome) -> str:
    if outcome.state == SUCCESS:
        return ""
    last = (outcome.stderr.strip() or outcome.stdout.strip()).decode("utf-8", "replace").rpartition("\n")[2]
    reason = outcome.reason or "the command failed"
    return reason if not last or last[:200] in reason else f"{reason}: {last[:200]}"


def _connection(parts: SplitResult, timeout: float, insecure: bool) -> HTTPConnection:
    from http.client import HTTPConnection, HTTPSConnection

    host = str(parts.hostname)
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=timeout)
    import ssl

    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, parts.port, timeout=timeout, context=context)
