"""One probe of WAIT and HEALTHCHECK: a URL that answers, or a command that succeeds; "" or why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from director.errors import VerbError
from director.language.builder import strings
from director.language.flags import Unrendered
from director.states import SUCCESS
from director.verbs.base import Node, Outcome
from director.verbs.run import SHELL

if TYPE_CHECKING:
    from http.client import HTTPConnection


def check_url(url: str, fail: Callable[[str], Exception]) -> SplitResult:
    """The parts of an http or https address; raises `fail(…)` for anything else."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise fail(f"{url!r} is not an address; expected http:// or https:// and a host")
    return parts


def url_body(flags: Mapping[str, Any], fail: Callable[[str], Exception]) -> dict[str, Any]:
    """`url` and `insecure`; an address without templates is checked now, any other on the node once it is rendered."""
    url = flags["url"]
    if not isinstance(url, Unrendered):
        check_url(url, fail)
    return {"url": str(url), "insecure": bool(flags.get("insecure"))}


def url_fault(url: str, timeout: float, insecure: bool) -> str:
    """Ask once for `url`: "" for an answer of 2xx or 3xx, else what came instead.

    Args:
        timeout: seconds for each step of the conversation.
        insecure: take any certificate.
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

    What is no valid JSON is the shell's; raises `fail(…)` for a JSON array of anything but strings.
    """
    try:
        words = strings(text)
    except ValueError as error:
        raise fail(str(error)) from None
    if words is None:
        return {"cmd": text.strip()} if text.strip() else None
    return {"argv": list(words)} if words and words[0] else None


def probe_raws(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The raw texts of a probe's body: its address, or its command, whose `$X` are the shell's."""
    if "url" in body:
        yield "document", body["url"]
    yield from (("text", text) for text in (*body.get("argv", ()), *([body["cmd"]] if "cmd" in body else ())))


def command_argv(text: str | None, argv: list[str] | None, node: Node) -> list[str]:
    """The program of a command in shell or JSON form, rendered."""
    if argv is not None:
        return [node.text(word) for word in argv]
    return [*(node.scope.shell or SHELL), node.text(text or "")]


def command_fault(outcome: Outcome) -> str:
    """Why a probe's command did not succeed, "" when it did."""
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
