"""Golden cases of parsing: the body and flags, or the error, of an instruction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from verb_node import drive, step_of

from director.errors import LanguageError
from director.language.words import literal
from director.transfer.blobs import BlobStore
from director.verbs import VERBS

_QUOTED = """- jobs:
  - ENV:
      A: "1.2"
      B: 'it''s "q" \\d $X {{ "a" }}'
"""
_LIST = literal('["a", "0644"]')
_MAPPING = literal("""{"b": "c'd"}""")

BODIES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("RUN uptime", {"cmd": "uptime"}, {}),
    ('RUN ["/bin/id", "-u"]', {"argv": ["/bin/id", "-u"]}, {}),
    ("RUN [not json", {"cmd": "[not json"}, {}),
    ("RUN --ok-codes 0,2 --user app x", {"cmd": "x"}, {"ok-codes": [0, 2], "user": "app"}),
    ("RUN --retries=3 --no-block x", {"cmd": "x"}, {"retry": 3, "no-block": True}),
    ("RUN --no-block=false x", {"cmd": "x"}, {}),
    ("RUN --network=host --security=insecure x", {"cmd": "x"}, {}),
    ("RUN --timeout 1m30s --ignore-errors x", {"cmd": "x"}, {"timeout": 90.0, "ignore-errors": True}),
    ("RUN --raw echo {{.Names}}", {"cmd": "echo {{.Names}}"}, {"raw": True}),
    ("RUN <<EOF\na\nb\nEOF", {"cmd": "a\nb\n"}, {}),
    ("RUN <<'EOF'\n{{ x\nEOF", {"parts": [("{{ x\n", False)]}, {}),
    ("RUN <<EOF bash\na\nEOF", {"cmd": "<<EOF bash\na\nEOF\n"}, {}),
    (
        "RUN cat <<'A' - <<B\n{{\nA\nb\nB",
        {"parts": [("cat <<'A' - <<B\n", True), ("{{\n", False), ("A\n", True), ("b\n", True), ("B\n", True)]},
        {},
    ),
    ("RUN <<EOF\n#!/bin/sh\nx\nEOF", {"script": "#!/bin/sh\nx\n", "render": True}, {}),
    (
        "RUN --mount=type=cache,target=/var/cache/x,mode=0700,uid=1 x",
        {"cmd": "x", "folders": [{"path": "/var/cache/x", "mode": 0o700, "owner": "1:1"}]},
        {},
    ),
    ("ECHO don't panic", {"text": "don\\'t panic"}, {}),
    ('ECHO "a b" $X', {"text": '"a b" $X'}, {}),
    ("ENV A=1 B='2 3'", {"pairs": [["A", "1"], ["B", "'2 3'"]]}, {}),
    ("ENV KEY a b  c", {"pairs": [["KEY", "a b  c"]]}, {}),
    ("ARG A B=1", {"pairs": [["A", None], ["B", "1"]]}, {}),
    ('ARG L=["a","b"]', {"pairs": [["L", '[\\"a\\",\\"b\\"]']]}, {}),
    ('- jobs:\n  - ENV: {L: [a, 0644], M: {b: "c\'d"}}', {"pairs": [["L", _LIST], ["M", _MAPPING]]}, {}),
    (_QUOTED, {"pairs": [["A", '"1.2"'], ["B", '"it\'s \\"q\\" \\\\d $X {{ "a" }}"']]}, {}),
    ('# escape=`\nARG L=["a"]', {"pairs": [["L", '[`"a`"]']], "escape": "`"}, {}),
    ("# escape=`\nECHO don't", {"text": "don`'t", "escape": "`"}, {}),
    ("ARG --extend-args L=[1]", {"pairs": [["L", "[1]"]], "extend": True}, {}),
    ("RUN --force-lock x", {"cmd": "x"}, {}),
    ("LABEL tier=web rack=", {"pairs": [["tier", "web"], ["rack", ""]]}, {}),
    ("USER app:www", {"user": "app:www"}, {}),
    ("WORKDIR /a b/c", {"text": "/a b/c"}, {}),
    ("# escape=`\nWORKDIR C:", {"text": "C:", "escape": "`"}, {}),
    ('SHELL ["/bin/bash", "-c"]', {"shell": ["/bin/bash", "-c"]}, {}),
    ("EXPOSE --timeout 5 80 443/tcp 8000-8010", {"words": ["80", "443/tcp", "8000-8010"]}, {"timeout": 5.0}),
    ("WAIT --seconds 1m", {"seconds": 60.0}, {}),
    ("WAIT --cmd test -e $X --retry", {"cmd": "test -e $X --retry", "retry": 30, "pause": 1.0}, {}),
    ("WAIT --retry 2 --retry-wait 100ms --cmd x", {"cmd": "x", "retry": 2, "pause": 0.1}, {}),
    ('WAIT --cmd ["true"]', {"argv": ["true"], "retry": 30, "pause": 1.0}, {}),
    ("WAIT --insecure --url https://a/b", {"url": "https://a/b", "insecure": True, "retry": 30, "pause": 1.0}, {}),
    (
        "WAIT --retry 2 --url http://{{ node.id }}:$PORT/it's",
        {"url": "http://{{ node.id }}:$PORT/its", "insecure": False, "retry": 2, "pause": 1.0},
        {},
    ),
    ("HEALTHCHECK NONE", {"none": True}, {}),
    ("CACHEEVICT all", {"evict": ["jobs", "args", "query"]}, {}),
    ("CACHEEVICT parents", {"evict": []}, {}),
    ("CACHEFILE /etc/values.yaml", {"text": "/etc/values.yaml"}, {}),
    ("SERVICE --restarted --retry 2 a b", {"words": ["a", "b"]}, {"restarted": True, "retry": 2}),
    (
        "PACKAGE --latest --retry 3 curl 'nginx=1.22*'",
        {"words": ["curl", "'nginx=1.22*'"]},
        {"latest": True, "retry": 3},
    ),
    ("APT --exclude a,b curl", {"words": ["curl"]}, {"exclude": ["a", "b"]}),
    ("QUERY TOKEN", {"name": "TOKEN"}, {}),
    ("QUERY --no-wait --target web-01 TOKEN", {"name": "TOKEN"}, {}),
    ("FETCH a $B/*.log out", {"paths": ["a", "$B/*.log"]}, {}),
    ("# escape=`\nFETCH a b`ut", {"paths": ["a"], "escape": "`"}, {}),
    (
        "COPY --chmod=0600 --chown=app <<a /etc/x/\n$X\na",
        {"dest": "/etc/x/", "texts": [["a", "$X\n", True]], "count": 1, "sources": []},
        {"chmod": "0600", "chown": "app"},
    ),
    (
        "COPY --from=web-01 --exclude=*.x /a b* {{ node.id }}/",
        {"dest": "{{ node.id }}/", "count": 2, "from": "web-01"},
        {},
    ),
    (
        "ADD --unpack=false <<'a' /x\n1\na",
        {"dest": "/x", "texts": [["a", "1\n", False]], "count": 1, "sources": []},
        {},
    ),
    ("REBOOT", {"seconds": 0.0}, {}),
    ("REBOOT --timeout 10m 5", {"seconds": 5.0}, {"timeout": 600.0}),
]

ERRORS = [
    ("RUN --device=/dev/kvm x", "--device cannot restrict"),
    ("RUN --network=none x", "--network=none is not supported"),
    ("RUN --security=sandbox x", "--security=sandbox is not supported"),
    ("RUN --mount=type=secret,id=a x", "the secret a is not given"),
    ("RUN --mount=target=/x x", "--mount=type=bind is not known"),
    ("RUN --mount=type=cache x", "needs a folder"),
    ("RUN echo {{ x", "--raw"),
    ('RUN [""]', "needs a command"),
    ("RUN --help", "--help prints a manual"),
    ("COPY a", "needs a source and a destination"),
    ("COPY a b c", "several sources need a destination that ends in /"),
    ("COPY --chmod=99 a b", "is not a mode"),
    ("COPY --chown=:x a b", "is not an owner"),
    ("COPY http://h/x /y", "expected ADD http://h/x"),
    ("COPY {{ NOPE }} /y", "NOPE is not known when planning"),
    ("COPY $NOPE /y", "--arg NOPE=VALUE"),
    ("COPY --from=alpine:3 a /y", "exec:1"),
    ("COPY <<../x /y/\na\n../x", "the here-document's name cannot be a file's"),
    ("ADD https://h/x.git /y", "RUN git clone https://h/x.git"),
    ("ADD git@h:x /y", "RUN git clone"),
    ("ADD --checksum=md5:1 http://h/x /y", "expected sha256:"),
    ("ADD --checksum=sha256:" + "0" * 64 + " x /y", "--checksum is for URLs"),
    ("ADD http://h/ /y/", "names no file"),
    ('- jobs: [{SERVICE: "x \'a\\nb"}]', "the quote ' is not closed in 'a\\nb; close it"),
    ("FETCH a {{ node.id }}", "FETCH needs a word that is the same on every node"),
    ("ADD http://[ /y", "'http://[' is not an address"),
    ("ADD http://h:p/x /y", "'http://h:p/x' is not an address"),
    ("ENV A", "needs a key and a value"),
    ("LABEL A", "needs a key and a value"),
    ("ARG node=1", "node is no name for an ARG"),
    ("RUN --stdout-arg node id", "--stdout-arg=node is no name for an ARG"),
    ("RUN --stderr-arg= id", "--stderr-arg= is no name for an ARG"),
    ("RUN --stderr-arg 'a b' id", "--stderr-arg=a b is no name for an ARG"),
    ("USER a b", "USER takes one word"),
    ("SHELL /bin/bash", "JSON form only"),
    ("EXPOSE 0", "is not a port"),
    ("EXPOSE 90-80", "is not a port"),
    ("EXPOSE 80/sctp", "is not a port"),
    ("WAIT", "expected one of --seconds N"),
    ("WAIT 5", "expected one of --seconds N"),
    ("WAIT --seconds 5 more", "takes nothing behind"),
    ("WAIT --url file:///etc/passwd", "is not an address"),
    ("WAIT --url http://{{ node..id }}", "the braces cannot be read"),
    ("HEALTHCHECK --url http://${PORT", "is not closed"),
    ("WAIT --seconds {{ facts.cpu.count }}", "a flag is the same on every node"),
    ("WAIT --cmd", "needs a"),
    ("HEALTHCHECK echo", "HEALTHCHECK does not know"),
    ("HEALTHCHECK CMD", "needs a command"),
    ("HEALTHCHECK CMD [1]", "JSON list here may have only strings"),
    ("CACHEEVICT x", "expected jobs, args, query or all"),
    ("SERVICE --enable --disable a", "cannot do --enable and --disable"),
    ("SERVICE", "needs a unit"),
    ("PACKAGE --latest --absent a", "cannot do --latest and --absent"),
    ("PACKAGE", "needs a name"),
    ("QUERY a b", "QUERY takes one name"),
    ("REBOOT soon", "is not a duration"),
    ("FETCH a", "FETCH needs a source and a folder"),
    ('ENV A="b', "not closed"),
    ("USER ${X!}", "no form of $X"),
    ("RUN --timeout {{ node.id }} x", "a flag is the same on every node"),
    ("RUN --timeout $NOPE x", "NOPE is not known when planning"),
    ("FETCH a out-{{ node.id }}", "FETCH needs a word that is the same on every node"),
    ("FETCH a ''", "the folder came out empty"),
    ("RUN --retry -1 x", "--retry cannot be '-1'; expected a whole number, not below 0"),
    ("HEALTHCHECK --retries=-1 CMD x", "expected a whole number, not below 0"),
    ("RUN --stdout-arg node x", "--stdout-arg=node is no name for an ARG"),
    ("RUN --stderr-arg= x", "--stderr-arg= is no name for an ARG"),
]


@pytest.mark.parametrize(("text", "body", "flags"), BODIES, ids=[text for text, _, _ in BODIES])
def test_body(text: str, body: dict[str, Any], flags: dict[str, Any], here: Path, node: Any) -> None:
    row = step_of(text, here, node.blobs)
    assert json.loads(json.dumps(row["body"])) == json.loads(json.dumps(body))
    assert row["flags"] == flags


def test_every_verb_has_a_golden_case() -> None:
    given = {line.split()[0] for text, _, _ in BODIES for line in text.splitlines()[-1:] + text.splitlines()[:1]}
    assert VERBS.keys() - given == {"FROM"}, "FROM is no step"


@pytest.mark.parametrize(("text", "says"), ERRORS, ids=[text for text, _ in ERRORS])
def test_error(text: str, says: str, here: Path, node: Any) -> None:
    with pytest.raises(LanguageError) as error:
        drive(text, here, node.blobs)
    assert str(error.value).startswith("exec:1: ")
    assert says in str(error.value)


def test_heredoc_sources(here: Path, node: Any) -> None:
    text = "COPY <<a <<'b' /etc/x/\nhello $V \\n \\$ \\\\ {{ '\\\\n' }}\na\nraw $V\nb"
    body = step_of(text, here, node.blobs)["body"]
    assert body["texts"] == [["a", "hello $V \\\\n \\$ \\\\ {{ '\\\\n' }}\n", True], ["b", "raw $V\n", False]]
    assert body["sources"] == []


def test_health_times(here: Path, node: Any) -> None:
    row = step_of("HEALTHCHECK --interval=5s --timeout=2s --retries=0 CMD curl x", here, node.blobs)
    assert row["flags"] == {}
    assert row["body"] == {
        "interval": 5.0, "timeout": 2.0, "start-period": 0.0, "start-interval": 5.0, "retries": 1, "cmd": "curl x",
    }  # fmt: skip


def test_notes(here: Path, node: Any, tmp_path: Path) -> None:
    (here / "a").write_text("a")
    text = "RUN --network=host x\nHEALTHCHECK NONE\nCOPY --link a /a\nRUN --mount=type=cache,target=/c x"
    plan = drive(text, here, BlobStore(str(tmp_path / "other")))
    assert [note.partition(": ")[0] for note in plan.notes] == ["exec:1", "exec:2", "exec:3", "exec:4"]


def test_misplaced_flag_warns(here: Path, node: Any) -> None:
    plan = drive("RUN ls --timeout 5", here, node.blobs)
    assert plan.warnings == ["exec:1: --timeout is behind the first argument and so belongs to the command"]
