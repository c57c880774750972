"""--doctor and --show-config: what is not well on this machine, and where each setting comes from."""

from __future__ import annotations

from collections.abc import Iterator

from director import Any
from director.cli.requests import show
from director.cli.server import ask
from director.config.settings import Settings
from director.config.table import SETTINGS, Setting
from director.doctor import client, machine, server
from director.doctor.findings import OK, WARNING, Finding, is_well
from director.errors import EXIT_FAILED, EXIT_OK, DirectorError

FINDING_COLUMNS = {"VERDICT": "verdict", "PART": "part", "CHECK": "check", "FOUND": "found", "REMEDY": "remedy"}
SETTING_COLUMNS = {"SETTING": "setting", "VALUE": "value", "SOURCE": "source"}


def doctor(settings: Settings) -> int:
    """Check the server and the client of this machine; exit code 1 when something has failed."""
    findings = [*_configuration(settings), *_server(settings), *_client(settings), *machine.processes(), machine.load()]
    if all(finding.part in ("configuration", "machine") for finding in findings):
        remedy = "start one: director --server, or director --client --server-address HOST"
        findings.insert(
            1, Finding("machine", "director", WARNING, "neither a server nor a client has run here", remedy)
        )
    show(settings, [finding.row() for finding in findings], FINDING_COLUMNS)
    return EXIT_OK if is_well(findings) else EXIT_FAILED


def _configuration(settings: Settings) -> Iterator[Finding]:
    given = [name for name, source in settings.sources.items() if source != "default"]
    files = ", ".join(settings.files) or "no file"
    yield Finding("configuration", "settings", OK, f"{files}; {len(given)} given (--show-config)")
    for warning in settings.warnings:
        yield Finding("configuration", "warning", WARNING, warning, "remove or rename it")


def _server(settings: Settings) -> Iterator[Finding]:
    """The findings about the server; none when none has run here."""
    folder = machine.state_folder(settings.state_dir, "server")
    try:
        health = ask(settings, {"do": "health"})
    except DirectorError as error:
        if folder or settings.socket_path:
            yield server.absent(str(error), folder)
        return
    yield from server.findings(health)


def _client(settings: Settings) -> Iterator[Finding]:
    if folder := machine.state_folder(settings.state_dir, "client"):
        yield from client.findings(settings, folder)


def show_config(settings: Settings) -> int:
    """Show every setting, its value and its source."""
    return show(settings, [_row(setting, settings) for setting in SETTINGS], SETTING_COLUMNS)


def _row(setting: Setting, settings: Settings) -> dict[str, Any]:
    value = getattr(settings, setting.attribute)
    shown = _shown(setting, value) if settings.output == "table" else value
    return {"setting": setting.name, "value": shown, "source": settings.sources[setting.name]}


def _shown(setting: Setting, value: Any) -> str:
    """The value as the settings file would have it; what an absent one means in parentheses."""
    if value is None or value == () or value == {}:
        return f"({setting.shown or 'none'})"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{key}={text}" for key, text in value.items())
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}s" if setting.kind == "duration" else str(value)
