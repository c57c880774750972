"""A second front door, for tests: `POST /COMMAND` with a JSON object, answered by a line of JSON for each item."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import ujson

from director.api.commands import Commands
from director.api.requests import Caller
from director.errors import DirectorError, UsageError
from director.protocol.framing import Cut


class SentFiles:
    """The sources that came with a request: texts by file name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def fetch(self, want: Mapping[str, Any]) -> Generator[tuple[list[Any], bytes, list[int]], None, None]:
        name = want["pattern"]
        if name not in self._texts:
            raise UsageError(f"{name} did not come with the request")
        descriptor = os.memfd_create(name)
        size = os.pwrite(descriptor, self._texts[name].encode(), 0)
        entry = {"path": "", "kind": "file", "mode": 0o644, "size": size, "target": "", "name": name}
        yield [entry], b"", [descriptor]


def front_door(commands: Commands, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A WSGI application, but for its first argument."""
    try:
        fields = ujson.loads(environ["wsgi.input"].read())
        caller = Caller("http", os.getuid(), os.getgid(), 0, SentFiles(fields.pop("sources", {})))
        answer = commands.call(environ["PATH_INFO"].strip("/"), fields, caller)
    except DirectorError as error:
        start_response("400 Bad Request", [])
        return [ujson.dumps({"error": str(error), "exit": error.exit_code}).encode()]
    start_response("200 OK", [])
    items = answer if isinstance(answer, Iterator) else iter([answer])
    texts = (item if isinstance(item, bytes) else ujson.dumps(item).encode() for item in items)
    return (text if isinstance(text, Cut) else text + b"\n" for text in texts)
