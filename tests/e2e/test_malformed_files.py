"""Texts that are wrong, sent to a real server: each is refused with its place, and nothing is left behind."""

from __future__ import annotations

from harness import Fleet
from language.test_malformed import LINES, YAML

from director.config.settings import Settings
from director.errors import EXIT_USAGE, DirectorError
from director.ids import new_job_id
from director.library.connection import Connection

PLANNED = [
    ("COPY nothing-here /x", "exec:1: "),
    ("RUN true\nCOPY a b c", "exec:2: several sources need a destination that ends in /; expected c/"),
    ("COPY --chmod=rwx a /x", "exec:1: --chmod 'rwx' is not a mode; expected octal"),
    ("ADD https://example.com/a.git /x", "exec:1: ADD does not fetch Git repositories; expected RUN git clone"),
    ("COPY $A /x", "exec:1: A is not known when planning; expected an ARG of the file"),
    ("RUN --timeout={{ node.id }} true", "exec:1: a flag is the same on every node; expected no node and no facts"),
    ("RUN true\nRUN echo {{ broken", "exec:2: "),
    ("RUN true\nECHO {{ 1 + }}", "exec:2: "),
    ("ECHO ${X", "exec:1: "),
    ("FROM debian:12\nRUN true", "exec:1: FROM takes target nodes; debian:12 looks like an image"),
    ("FROM ((\nRUN true", "exec:1: "),
    ("ARG node=1", "exec:1: node is no name for an ARG: templates know it already"),
    ("RUN --network=none true", "exec:1: --network=none is not supported; expected default or host"),
    ("RUN --mount=type=secret true", "exec:1: --mount=type=secret needs a name; expected id=NAME"),
    ("RUN --device=/dev/x true", "exec:1: --device cannot restrict"),
    ("SHELL /bin/sh", "exec:1: SHELL takes the JSON form only; expected SHELL"),
    ("EXPOSE http", "exec:1: 'http' is not a port; expected something like 80"),
    ("WAIT 5", "exec:1: WAIT waits for one thing; expected one of --seconds N"),
    ("HEALTHCHECK curl x", "exec:1: HEALTHCHECK does not know 'curl'; expected HEALTHCHECK CMD COMMAND"),
    ("SERVICE --restarted --stopped x", "exec:1: SERVICE cannot do --restarted and --stopped at once; expected one"),
    ("PACKAGE --latest --absent x", "exec:1: PACKAGE cannot do --latest and --absent at once; expected one of them"),
    ("REBOOT soon", "exec:1: REBOOT: "),
    ("RUN --help true", "exec:1: "),
]


def refusal(link: Connection, text: str, name: str, form: str) -> DirectorError:
    """What the server answers to this text."""
    file = {"id": new_job_id(), "kind": "exec", "name": name, "form": form, "text": text, "folder": "/nonexistent"}
    link.send({"do": "submit", "files": [file], "options": {}})
    try:
        header, _ = link.receive()
        if "want" in header:
            link.send({"error": "no such file"})
            link.receive()
    except DirectorError as error:
        return error
    raise AssertionError(f"accepted: {text!r}")


def test_every_wrong_text_is_refused_by_the_server(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    texts = [(text, message, "exec", "containerfile") for text, message in LINES + PLANNED]
    texts += [(text, message, "f.yaml", "auto") for text, message in YAML if "FROM:" not in text]
    texts += [("- jobs:\n  - FROM: a", "f.yaml:2: FROM has no meaning in YAML; use targets:", "f.yaml", "auto")]
    assert len(texts) >= 100
    with Connection(Settings(socket_path=str(fleet.socket_path))) as link:
        for text, message, name, form in texts:
            if "\udc80" in text:  # the user's command refuses it before
                continue
            error = refusal(link, text, name, form)
            assert (error.exit_code, str(error).startswith(message)) == (EXIT_USAGE, True), (text, str(error))
            assert "\n" not in str(error)
    assert fleet.run_json("--list-jobs") == []
