"""What verbs do on a node: the outcome and effects of values, commands and probes."""

from __future__ import annotations

import os
import pwd
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from verb_node import FakeNode

from director.errors import VerbError
from director.states import CACHED, FAILED, SUCCESS, TIMEOUT
from director.verbs.base import Outcome
from director.verbs.run import Run

Do = Callable[..., Outcome]

EFFECTS: list[tuple[str, dict[str, Any], bytes]] = [
    ("ENV A=1 B='2 3'", {"env": {"A": "1", "B": "2 3"}, "quoted": ["B"]}, b""),
    ("ENV A=$A-2 B=$A", {"env": {"A": "-2", "B": ""}}, b""),
    ("ARG A=1", {"declare": ["A"], "arg": {"A": "1"}}, b""),
    ("ARG A", {"declare": ["A"]}, b""),
    ('ARG A="1.2"', {"declare": ["A"], "arg": {"A": "1.2"}, "quoted": ["A"]}, b""),
    ('ARG A=["a",{"b":"$X"}]', {"declare": ["A"], "arg": {"A": '["a",{"b":""}]'}}, b""),
    ("ARG KEPT", {"declare": ["KEPT"], "arg": {"KEPT": "before"}}, b""),
    ("ARG KEPT=now", {"declare": ["KEPT"], "arg": {"KEPT": "now"}}, b""),
    ("ARG TARGETARCH TARGETPLATFORM", {
        "declare": ["TARGETARCH", "TARGETPLATFORM"], "arg": {"TARGETARCH": "amd64", "TARGETPLATFORM": "linux/amd64"},
    }, b""),
    ("USER 1000:1000", {"user": "1000:1000"}, b""),
    ('SHELL ["/bin/bash", "-c"]', {"shell": ["/bin/bash", "-c"]}, b""),
    ("LABEL tier=db rack=", {"labels": {"tier": "db", "rack": ""}}, b""),
    ("LABEL tier=web", {"labels": {"tier": "web"}}, b""),
    ("CACHEEVICT args", {"evict": ["args"]}, b""),
    ("CACHEEVICT envs", {}, b""),
    ("ECHO {{ node.id }} has {{ facts.cpu.count }} on $NOPE.", {}, b"web-01 has 2 on ."),
    ("ECHO it's", {}, b"it's"),
    ("QUERY T", {"query": {"web-01": {"T": "T of web-01"}}}, b'{"web-01": {"T": "T of web-01"}}'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "effects", "stdout"), EFFECTS, ids=[text for text, _, _ in EFFECTS])
def test_effects(text: str, effects: dict[str, Any], stdout: bytes, do: Do, node: FakeNode) -> None:
    node.scope.remembered["KEPT"] = "before"
    outcome = do(text)
    assert outcome.state in (SUCCESS, CACHED)
    assert (outcome.effects, outcome.stdout) == (effects, stdout)


def test_what_comes_from_a_node_is_never_rendered_again(do: Do, node: FakeNode, there: Path, here: Path) -> None:
    sly = "{{ 7*7 }} $HOME `id`"
    node.labels, node.facts = {"sly": sly}, {"os": {"id": sly}}
    node.scope.remembered["SLY"] = sly
    assert do("ECHO {{ node.labels.sly }}|{{ facts.os.id }}|{{ SLY }}").stdout.decode() == "|".join([sly] * 3)
    assert do("RUN printf %s {{ facts.os.id | quote }}").stdout.decode() == sly
    assert do("ARG S={{ node.labels.sly }}\nENV T={{ S }}\nECHO $S|$T").stdout.decode() == f"{sly}|{sly}"
    (here / "f").write_text("{{ node.labels.sly }}")
    do("COPY --blueprint f f")
    assert (there / "f").read_text() == sly


def test_label_that_is_so_is_cached(do: Do) -> None:
    assert do("LABEL tier=web").state == CACHED
    assert do("LABEL tier=db").state == SUCCESS


def test_more_labels_than_a_node_can_tell(do: Do, node: FakeNode) -> None:
    node.labels = {f"l{number}": "x" * 1000 for number in range(65)}
    with pytest.raises(VerbError, match="66 labels of"):
        do(f"LABEL a={'x' * 1000}")
    assert do("LABEL l1= l2= l3=").state == SUCCESS


def test_arg_overridden(do: Do, node: FakeNode) -> None:
    node.scope.overrides["A"] = "given"
    assert do("ARG A=1").effects == {"declare": ["A"], "arg": {"A": "given"}}
    assert do("ARG A=1\nECHO $A {{ A }}").stdout == b"given given"


def test_extend_args(do: Do, node: FakeNode) -> None:
    node.scope.remembered["L"] = "[1]"
    node.scope.overrides["L"] = "[3]"
    assert do("ARG L=[2]\nECHO {{ L }}", extend_args=True).stdout == b"[1, 2, 3]"
    assert do('ARG M={"a":{"b":1}}\nARG M={"a":{"c":2}}\nECHO {{ M.a.b }}{{ M.a.c }}', extend_args=True).stdout == b"12"


def test_mapping_of_yaml(do: Do) -> None:
    text = "- targets: all\n  jobs:\n  - ARG: {M: {a: 1.5, b: [x, 'y z']}, L: [p, 'q\"']}\n  - ECHO: \"%s\"\n"
    assert do(text % "{{ M.a + 1 }} {{ M.b[1] }} {{ L[1] }} $L", form="yaml").stdout == b'2.5 y z q" ["p", "q\\""]'


def test_quoted_value_is_text(do: Do) -> None:
    assert do('ARG A="1"\nECHO {{ A is string }}').stdout == b"True"
    assert do("ARG A=1\nECHO {{ A is string }}").stdout == b"False"


# -- RUN --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "state", "stdout"),
    [
        ("RUN echo {{ node.id }} $((1+1))", SUCCESS, b"web-01 2\n"),
        ('RUN ["printf", "%s|", "a b", "$X"]', SUCCESS, b"a b|$X|"),
        ("RUN false", FAILED, b""),
        ("RUN --ok-codes 0,3 exit 3", SUCCESS, b""),
        ("RUN --ok-codes 3 true", FAILED, b""),
        ("ENV A=1\nRUN echo $A", SUCCESS, b"1\n"),
        ("RUN <<EOF\nx=1\necho $x\nEOF", SUCCESS, b"1\n"),
        ("RUN <<EOF cat\n{{ node.id }} `echo 2`\nEOF", SUCCESS, b"web-01 2\n"),
        ("RUN <<'EOF' cat\n{{ x $y\nEOF", SUCCESS, b"{{ x $y\n"),
        ("RUN cat <<A && cat <<'B'\n{{ 1 + 1 }}\nA\n{{ 1\nB", SUCCESS, b"2\n{{ 1\n"),
        ("RUN <<EOF\n#!/usr/bin/env python3\nprint('py {{ node.id }}')\nEOF", SUCCESS, b"py web-01\n"),
        ("RUN <<'EOF'\n#!/bin/sh -e\necho '{{'\nfalse\necho no\nEOF", FAILED, b"{{\n"),
        ('SHELL ["/bin/bash", "-c"]\nRUN [[ a == a ]] && echo bash', SUCCESS, b"bash\n"),
        ("RUN no-such-program-here", FAILED, b""),
        ('RUN ["no-such-program-here"]', FAILED, b""),
    ],
)
def test_run(text: str, state: int, stdout: bytes, do: Do) -> None:
    outcome = do(text)
    assert (outcome.state, outcome.stdout) == (state, stdout)
    assert state == SUCCESS or outcome.reason


def test_run_options(do: Do, node: FakeNode) -> None:
    do("RUN --user 1000 --no-block sleep 0")
    assert node.ran == [{"argv": ["/bin/sh", "-c", "sleep 0"], "user": "1000", "detach": True, "env": {}}]


def test_secrets_of_a_run_are_there_while_it_runs(node: FakeNode, there: Path) -> None:
    node.secrets = {"db": b"line 1\n\xff\n", "nul": b"a\0bc"}
    path = there / "in" / "db"

    def run(*mounts: str, command: str = "true") -> Outcome:
        rows = [{"id": mount.partition(",")[0], **dict([mount.partition(",")[2].split("=")])} for mount in mounts]
        body = {"cmd": command, "secrets": [{"mode": 0o400, **row} if "target" in row else row for row in rows]}
        return Run().apply(body, {}, node)  # type: ignore[arg-type]

    done = run(f"db,target={path}", "db,env=PW", command=f'cat {path}; printf %s "$PW" | wc -c; stat -Lc %a {path}')
    assert done.stdout == b"line 1\n\xff\n8\n400\n" and not path.is_symlink()
    path.symlink_to("/run/director-secret-x-y/value")
    assert run(f"db,target={path}").state == SUCCESS, "what an earlier client left is replaced"
    path.write_text("of somebody")
    with pytest.raises(VerbError, match="exists already"):
        run(f"db,target={path}")
    assert path.read_text() == "of somebody"
    with pytest.raises(VerbError, match="has a NUL byte"):
        run("nul,env=X")
    node.secrets["word"] = b"s3cr3t"
    with pytest.raises(VerbError, match="in the script's file on disk"):
        Run().apply({"script": "#!/bin/sh\necho s3cr3t\n", "render": True}, {}, node)


def test_run_cache_folder(do: Do, there: Path) -> None:
    text = f"RUN --mount=type=cache,target={there}/c/d,mode=0700 test -d {there}/c/d"
    assert do(text).state == SUCCESS
    assert (there / "c/d").stat().st_mode & 0o777 == 0o700
    (there / "c/d").chmod(0o755)
    assert do(text).state == SUCCESS
    assert (there / "c/d").stat().st_mode & 0o777 == 0o755


def test_script_leaves_no_file(do: Do, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(there))
    assert do("RUN <<EOF\n#!/bin/sh\nexit 3\nEOF").exit_code == 3
    assert do("RUN --no-block <<EOF\n#!/bin/sh\nexit 4\nEOF").exit_code == 4
    assert list(there.iterdir()) == []


def test_run_hot_path_asks_nothing_else(node: FakeNode, here: Path) -> None:
    from director.verbs import load

    load("RUN").apply({"cmd": "true"}, {}, node)
    assert node.ran == [{"argv": ["/bin/sh", "-c", "true"]}]


# -- WORKDIR ----------------------------------------------------------------------------------------------


def test_workdir(do: Do, node: FakeNode, there: Path) -> None:
    outcome = do("WORKDIR --chmod=0750 a b/c")
    assert (outcome.state, outcome.stdout) == (SUCCESS, f"{there}/a b/c".encode())
    assert outcome.effects == {"workdir": f"{there}/a b/c"}
    assert (there / "a b/c").stat().st_mode & 0o777 == 0o750
    assert (there / "a b").stat().st_mode & 0o777 == 0o755
    assert do("WORKDIR ../c").state == CACHED
    assert do("WORKDIR --chmod=g-x .").state == SUCCESS
    assert node.scope.workdir == f"{there}/a b/c"


def test_workdir_on_a_file(do: Do, there: Path) -> None:
    (there / "f").write_text("")
    with pytest.raises(VerbError, match="f: not a folder"):
        do("WORKDIR f/x")


def test_workdir_starts_at_home(do: Do, node: FakeNode, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node.scope.workdir = ""
    assert do("WORKDIR .").stdout.decode() == os.path.expanduser("~")
    node.scope.workdir = ""
    monkeypatch.setenv("HOME", str(there))  # where a RUN would be
    assert do("WORKDIR .").stdout.decode() == str(there)
    node.scope.workdir = ""
    monkeypatch.setenv("HOME", str(there / "nothing"))
    assert do("WORKDIR .").stdout == b"/"
    monkeypatch.setattr("pwd.getpwuid", lambda uid: pwd.struct_passwd(("a", "x", uid, uid, "", str(there), "")))
    node.scope.workdir, node.scope.user = "", "1000"
    assert do("WORKDIR .").stdout.decode() == str(there)


def test_proxies_need_no_arg(do: Do, node: FakeNode) -> None:
    node.scope.overrides.update(HTTP_PROXY="a", no_proxy="b", Https_Proxy="c", OTHER="d")
    assert do("ECHO $HTTP_PROXY $no_proxy $Https_Proxy $OTHER").stdout == b"a b c "


def test_one_step_can_extend(do: Do) -> None:
    do('ARG L=[1] M={"a":1}')
    do('ARG --extend-args L=[2] M={"b":2} N=3')
    do("ENV E=[1]\nENV --extend-args E=[2] F=x")
    assert do("ECHO $L $M $N $E $F").stdout == b'[1, 2] {"a": 1, "b": 2} 3 [1, 2] x'


def test_a_name_of_the_templates_cannot_be_taken(do: Do) -> None:
    with pytest.raises(VerbError, match="node is no name for an ARG"):
        do("ARG 'node'=1")
    do("ENV node=1 query=2")
    assert do("ECHO {{ node }} {{ query }} $node").stdout == b"{'id': 'web-01', 'labels': {'tier': 'web'}} {} 1"


# -- EXPOSE, WAIT, HEALTHCHECK ------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[str]:
    """A URL that answers 503 twice, then 204; `/no` is always 404, `/there` redirects."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            known = {"/no": 404, "/there": 302}
            self.send_response(known.get(self.path, 503 if len(seen) < 3 else 204))
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_wait_url(do: Do, node: FakeNode, web: str) -> None:
    assert do(f"WAIT --url {web}/x?y=1").state == SUCCESS
    assert node.slept == [1.0, 1.0]
    assert do(f"WAIT --url {web}/there").state == SUCCESS
    with pytest.raises(VerbError, match=r"answered 404 \(2 tries\)"):
        do(f"WAIT --url {web}/no --retry 2 --retry-wait 0")


def test_an_address_that_differs_per_node(do: Do, node: FakeNode, web: str) -> None:
    """Templates and `$X` in `--url` are rendered on the node, for WAIT and HEALTHCHECK."""
    port = web.rpartition(":")[2]
    node.labels = {"place": "127.0.0.1", "path": "no"}
    address = f"http://{{{{ node.labels.place }}}}:${{PORT:-{port}}}"
    assert do(f"ARG UNUSED=1\nWAIT --url {address}/{{{{ facts.arch }}}}").state == SUCCESS
    assert do(f"ARG P={port}\nHEALTHCHECK --url http://127.0.0.1:$P/there").state == SUCCESS
    with pytest.raises(VerbError, match=rf"^{web}/no: answered 404$"):
        do(f"WAIT --retry 1 --url {address}/{{{{ node.labels.path }}}}")
    with pytest.raises(VerbError, match=r"'ftp://127\.0\.0\.1' is not an address"):
        do("HEALTHCHECK --retries 1 --url ftp://{{ node.labels.place }}")
    with pytest.raises(VerbError, match="nothing"):
        do("WAIT --retry 1 --url http://{{ nothing }}/")


def test_wait_seconds_and_command(do: Do, node: FakeNode) -> None:
    do("WAIT --seconds 2.5")
    assert node.slept == [2.5]
    assert do("WAIT --cmd echo $((1+1))").stdout == b"2\n"
    with pytest.raises(VerbError, match=r"exit code 1: no \(3 tries\)"):
        do("WAIT --retry 3 --retry-wait 1ms --cmd echo no >&2; false")
    node.answers = {"/bin/sh -c false": Outcome(FAILED, 1, stderr=b"no\n", reason="exit code 1: no")}
    with pytest.raises(VerbError, match=r"^exit code 1: no$"):
        do("WAIT --retry 1 --cmd false")


def test_health(do: Do, node: FakeNode, web: str, there: Path) -> None:
    assert do(f"HEALTHCHECK --interval=1s --url {web}").state == SUCCESS
    with pytest.raises(VerbError, match=r"unhealthy: .*answered 404 \(3 in a row\)"):
        do(f"HEALTHCHECK --interval=10ms --url {web}/no")
    assert do('HEALTHCHECK CMD ["echo", "well"]').stdout == b"well\n"
    with pytest.raises(VerbError, match=r"not done within 0\.05 s"):
        do("HEALTHCHECK --timeout=50ms --retries=1 CMD sleep 9")
    assert do("HEALTHCHECK NONE").state == SUCCESS


def test_health_start_period_does_not_count(do: Do, there: Path, node: FakeNode) -> None:
    command = f"echo x >> {there}/tries; test $(wc -l < {there}/tries) -ge 4"
    assert do(f"HEALTHCHECK --start-period=1m --start-interval=1ms --retries=1 CMD {command}").state == SUCCESS
    assert len(node.slept) == 3


def test_expose(do: Do, node: FakeNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1", 0))
        ports = tcp.getsockname()[1], udp.getsockname()[1]
        assert do(f"EXPOSE {ports[0]} {ports[1]}/udp").stdout == f"{ports[0]}/tcp\n{ports[1]}/udp".encode()
    node.seconds = 0.5
    with pytest.raises(VerbError, match=f"not bound: {ports[0]}/tcp"):
        do(f"EXPOSE {ports[0]}")


# -- CACHEFILE ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("{}", {}),
        ("", {}),
        ("a: 1\nb: 0644\nc: [x, '1']\n", {"a": "1", "b": "0644", "c": '["x", "1"]'}),
        ('{"a": {"b": true}, "t": "yes"}', {"a": '{"b": true}', "t": "yes"}),
        ("m: {b: 2, l: [2]}\n", {"m": '{"a": 1, "b": 2, "l": [2]}'}),
        ("when: 2026-01-01\n", {"when": "2026-01-01"}),
        ("b: &b {x: 1, y: 1}\nc: {<<: *b, y: 2}\n", {"b": '{"x": 1, "y": 1}', "c": '{"x": 1, "y": 2}'}),
        ("b: {<<: [{x: 1}, {x: 2, z: 3}]}\n", {"b": '{"x": 1, "z": 3}'}),
        ("a: 't'\na: 1\n", {"a": "1"}),
    ],
)
def test_cachefile(content: str, texts: dict[str, str], do: Do, there: Path, node: FakeNode) -> None:
    (there / "v").write_text(content)
    node.scope.remembered["m"] = '{"a": 1, "b": 1, "l": [1]}'
    outcome = do("CACHEFILE v")
    assert (outcome.stdout, outcome.effects["arg"]) == (f"{there}/v".encode(), texts)
    assert outcome.effects["declare"] == list(texts)
    assert outcome.effects["quoted"] == [name for name in texts if name == "t"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: 1\n2: b\n", r"v:2: the key '2' is not text"),
        ("m:\n  x: 1\n  3: b\n", r"v:3: the key '3' is not text"),
        ("m: {null: b}\n", r"v:1: the key 'null' is not text"),
        ("m: {[a]: b}\n", r"v:1: a key is a list or a mapping"),
        ("m: {<<: x}\n", r"v:1: << takes a mapping"),
        ("- a\n", r"v:1: not a mapping"),
        ("b: 1\na: {b: {{ c }}}\n", r"v:2: a key is a list or a mapping; .*a value that begins"),
        ("a: [\n", r"v:\d: this is not YAML"),
        ("node: x\n", r"v:1: 'node' is no name"),
        ("a: &a [1]\nb: [" + "*a, " * 101 + "]\n", r"more than 100 aliases"),
        ("a: " + "[" * 500, r"v:1: lists and mappings are nested"),
    ],
)
def test_cachefile_errors(content: str, says: str, do: Do, there: Path) -> None:
    (there / "v").write_text(content)
    with pytest.raises(VerbError, match=says):
        do("CACHEFILE v")
    (there / "v").unlink()
    with pytest.raises(VerbError, match="v: No such file"):
        do("CACHEFILE v")


@pytest.mark.parametrize(
    "text", ["EXPOSE $NO", "SERVICE $NO", "PACKAGE $NO '{{ \"\" }}'", "FETCH a $NO out", "USER $NO"]
)
def test_what_comes_out_empty_is_no_success(text: str, do: Do) -> None:
    with pytest.raises(VerbError, match="came out"):
        do(text)


# -- SERVICE, PACKAGE, REBOOT, FETCH ------------------------------------------------------------------------


def shown(load: str = "loaded", active: str = "inactive", file: str = "disabled") -> Outcome:
    return Outcome(stdout=f"LoadState={load}\nActiveState={active}\nUnitFileState={file}\n".encode(), exit_code=0)


@pytest.mark.parametrize(
    ("text", "state", "calls"),
    [
        ("SERVICE a", shown(), ["start a"]),
        ("SERVICE a", shown(active="active"), []),
        ("SERVICE --enable a", shown(active="active"), ["enable a"]),
        ("SERVICE --restarted --daemon-reload a", shown(active="active"), ["daemon-reload", "restart a"]),
        ("SERVICE --reloaded a", shown(active="active"), ["reload a"]),
        ("SERVICE --stopped --disable a", shown(active="active", file="enabled"), ["disable a", "stop a"]),
        ("SERVICE --stopped a", shown(), []),
        ("SERVICE --mask a", shown(), ["mask a"]),
        ("SERVICE --unmask a", shown("masked", file="masked"), ["unmask a", "start a"]),
    ],
)
def test_service(text: str, state: Outcome, calls: list[str], do: Do, node: FakeNode) -> None:
    node.answers = {"systemctl --no-ask-password show": state, "systemctl": Outcome(exit_code=0)}
    outcome = do(text)
    asked = [" ".join(run["argv"][2:]) for run in node.ran]
    assert [call for call in asked if not call.startswith("show")] == calls
    assert outcome.state == (SUCCESS if calls else CACHED)


def test_service_errors(do: Do, node: FakeNode) -> None:
    node.answers = {"systemctl": shown("not-found")}
    with pytest.raises(VerbError, match="a: no such unit"):
        do("SERVICE a")
    node.answers = {"systemctl": Outcome(FAILED, 127)}
    with pytest.raises(VerbError, match="needs systemd"):
        do("SERVICE a")
    with pytest.raises(VerbError, match="is no unit"):
        do("SERVICE a --now")


def apt(*installed: str) -> dict[str, Outcome]:
    rows = "".join(f"installed {name}\n" for name in installed).encode()
    return {"dpkg-query": Outcome(FAILED if len(installed) < 2 else SUCCESS, 1, rows), "apt-get": Outcome(exit_code=0)}


@pytest.mark.parametrize(
    ("text", "installed", "last"),
    [
        ("PACKAGE curl nginx", ("curl",), "install nginx"),
        ("APT curl nginx", ("curl", "nginx"), ""),
        ("PACKAGE --latest curl nginx", ("curl", "nginx"), "install curl nginx"),
        ("DNF --absent curl telnet", ("curl",), "remove curl"),
        ("PACKAGE --absent telnet", (), ""),
        ("PACKAGE nginx=1.22", ("nginx",), ""),
    ],
)
def test_package(
    text: str, installed: tuple[str, ...], last: str, do: Do, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("director.verbs.package.find_manager", lambda: "apt-get")
    node.answers = apt(*installed)
    outcome = do(text)
    argv = node.ran[-1]["argv"]
    assert (f"{argv[1]} {' '.join(argv[5:])}" if argv[0] == "apt-get" else "") == last
    assert outcome.state == (SUCCESS if last else CACHED)
    assert node.ran[-1]["user"] == ""


@pytest.mark.parametrize(
    ("manager", "nothing", "something"),
    [
        (
            "apt-get",
            b"awk is already provided\n0 upgraded, 0 newly installed, 0 to remove and 3 not upgraded.\n",
            b"0 upgraded, 1 newly installed, 0 to remove and 3 not upgraded.\n",
        ),
        ("dnf", b"Dependencies resolved.\nNothing to do.\nComplete!\n", b"Installed:\n  mawk-1.3.4\nComplete!\n"),
        ("apk", b"OK: 8 MiB in 17 packages\n", b"(1/1) Installing gawk (5.3-r0)\nOK: 9 MiB in 18 packages\n"),
    ],
)
def test_a_name_that_another_package_provides(
    manager: str, nothing: bytes, something: bytes, do: Do, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never listed as installed; the output of the install says whether anything changed."""
    monkeypatch.setattr("director.verbs.package.find_manager", lambda: manager)
    listing = {"dpkg-query": Outcome(FAILED, 1), "rpm": Outcome(FAILED, 1), "apk info": Outcome(FAILED, 1)}
    for said, state in ((nothing, CACHED), (something, SUCCESS)):
        node.answers = {**listing, manager: Outcome(exit_code=0, stdout=said)}
        assert do("PACKAGE awk").state == state
        assert do("PACKAGE --latest awk").state == state


def test_package_exclude(do: Do, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("director.verbs.package.find_manager", lambda: "dnf")
    node.answers = {"rpm": Outcome(FAILED, 1), "dnf": Outcome(exit_code=0)}
    do("PACKAGE --exclude a,b curl")
    assert node.ran[-1]["argv"] == ["dnf", "install", "-y", "--exclude=a,b", "curl"]
    do("PACKAGE --clear-metadata curl")
    assert [ran["argv"] for ran in node.ran[-2:]] == [["dnf", "clean", "metadata"], ["dnf", "install", "-y", "curl"]]
    monkeypatch.setattr("director.verbs.package.find_manager", lambda: "apt-get")
    node.answers = apt()
    do("PACKAGE --exclude a,b curl")
    assert node.ran[-1]["argv"][-3] == "-o" and "Dir::Etc::Preferences=" in node.ran[-1]["argv"][-2]
    with pytest.raises(VerbError, match="is no package name"):
        do("PACKAGE --latest -- --force")


BARS = r"""#!/bin/sh
printf 'Reading...\n(database ... \r(database ... 5%%\r(database ... 100%%\r(database ... 7 files.)\n'
printf 'Get:1 [##   ]\rGet:1 [#####]\r\r\n\nwindows\r\ndone'
printf '\r 1%%\r2%%\rwarning\n' >&2
"""


def test_a_package_manager_s_progress_is_left_out(do: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apk").write_text(BARS)
    (tmp_path / "apk").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("director.verbs.package.find_manager", lambda: "apk")
    outcome = do("PACKAGE curl")
    assert outcome.stdout.decode() == "Reading...\n(database ... 7 files.)\nGet:1 [#####]\n\nwindows\ndone"
    assert outcome.stderr.decode() == "warning\n"


def test_package_manager_is_found(tmp_path: Path) -> None:
    from director.verbs.package import find_manager

    with pytest.raises(VerbError, match="no package manager"):
        find_manager(str(tmp_path))
    (tmp_path / "apk").write_text("")
    (tmp_path / "apk").chmod(0o755)
    assert find_manager(f"/nowhere:{tmp_path}") == "apk"


def test_reboot_and_fetch(do: Do, node: Any, there: Path) -> None:
    assert do("REBOOT 2").reason == "after 2"
    outcome = do("FETCH log /x/*.d out/")
    assert outcome.stdout.decode() == f"web-01{there}/log\nweb-01/x/*.d"
    assert (outcome.state, outcome.stderr) == (SUCCESS, b"left out: a link")
    node.fetched.append("all")
    assert do("FETCH log out/").state == CACHED


def test_judged_by_exit_code_only() -> None:
    from director.verbs.run import judge

    assert judge(Outcome(TIMEOUT, 143, reason="late"), [143]).state == TIMEOUT
