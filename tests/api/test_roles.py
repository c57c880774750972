"""Roles and their nodes, over a real socket with real users: every command, each way to another node, each listing."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from callers import SOCKET_GROUP, Answer, User
from harness import Fleet, wait_until
from test_commands import TABLE, commands

from director import ids
from director.api.permissions import HAVE
from director.library.secrets import Sealer
from director.protocol.framing import Channel

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can call as other users"),
    pytest.mark.slow,
    pytest.mark.xdist_group("roles"),
]

USERS = {
    "viewer": User(61001),
    "operator": User(61002, (62002,)),
    "enroller": User(61003),
    "admin": User(61000),
    "nobody": User(61009, (62009,)),
}
ROLES = """\
roles:
  admin: [root, '61000']
  viewer: {'61001': web-*}
  operator: {'@62002': 'web-*', '61005': 'label:tier=web'}
  enroller: {'61003': web-*}
"""
PLACE = {"kind": "exec", "name": "exec", "form": "auto", "folder": "/"}
Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def server() -> Iterator[Fleet]:
    """A server with roles, nodes web-1, web-2 and db-1, and jobs: `inside` on web-1, `outside` on all of them."""
    fleet = Fleet()
    try:
        fleet.folder.chmod(0o711)
        (fleet.folder / "none.yaml").write_text(ROLES)
        fleet.start_server("--socket-group", str(SOCKET_GROUP))
        for name in ("web-1", "web-2", "db-1"):
            fleet.start_client(name)
        fleet.wait_online(["web-1", "web-2", "db-1"])
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def ask(server: Fleet) -> Ask:
    """Asks as the user who has a role."""
    return lambda role, do, **fields: USERS[role].ask(server.socket_path, do, **fields)


@pytest.fixture(scope="module")
def jobs(server: Fleet) -> dict[str, str]:
    """Final jobs: `inside` on web-1 and web-2, `outside` on all nodes, `copies` and `queries` read from db-1."""
    texts = {
        "copies": ("web-1", "COPY --from=db-1 /etc/hostname /tmp/"),
        "queries": ("web-1", "QUERY --target=db-1 hostname"),
        "outside": ("web-1,db-1", "RUN true"),
        "inside": ("web-1,web-2", "RUN true"),
    }
    found = {}
    for name, (target, text) in texts.items():
        found[name] = server.submit("--target", target, "--exec", text)
        assert server.wait_job(found[name])["state"] == "success"
    return found


def submission(target: str, text: str = "RUN true", **options: Any) -> dict[str, Any]:
    file = {**PLACE, "id": ids.new_job_id(), "text": text}
    return {"files": [file], "options": {"target": [target] if target else [], **options}}


def requests(jobs: dict[str, str], tokens: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """For each command a request within the nodes of the roles, and one, if there is any, that goes beyond them."""
    places = ("inside", "outside")
    both = {"inside": "web-1", "outside": "db-1"}
    by_job = [{"id": jobs[place]} for place in places]
    by_jobs = [{"ids": [jobs[place]]} for place in places]
    by_node = [{"node": both[place]} for place in places]
    chosen = [{"nodes": [[both[place], "k" * 40]]} for place in places]
    return {
        "hello": [{}],
        "health": [{}],
        "verb-help": [{"verb": "run"}],
        "submit": [submission(both[place]) for place in places],
        "plan": [submission(both[place]) for place in places],
        "resume": [{**row, "new_id": ids.new_job_id()} for row in by_job],
        "wait": by_jobs,
        "list-jobs": by_jobs,
        "job-info": by_job,
        "list-nodes": by_node,
        "node-info": by_node,
        "cancel": by_jobs,
        "purge-nodes": by_node,
        "create-token": [{"nodes": "web-9"}, {"nodes": "db-9"}],
        "list-tokens": [{}],
        "revoke-token": [{"id": tokens["own"]}, {"id": tokens["other"]}],
        "list-waiting": [{"node": "web-*"}],
        "accept-node": chosen,
        "reject-node": chosen,
        "renew-node": by_node,
        "events": [{"once": True}],
        "follow": by_job,
        "why": by_job,
        "export-jobs": [{}],
        "export-nodes": [{}],
    }


#: what only an admin may do; these requests find nothing
NOBODY = {"node": "none"}
ADMINS = {
    "purge-jobs": {"state": ["queued"]}, "revoke-node": NOBODY, "rotate-key": NOBODY, "label-node": NOBODY,
    "verify-audit": {},
}  # fmt: skip


@pytest.mark.parametrize("role", USERS)
def test_every_command_as_each_role_inside_and_outside(role: str, ask: Ask, jobs: dict[str, str]) -> None:
    makers = {"own": role if role in HAVE["enroller"] else "admin", "other": "admin"}
    tokens = {name: ask(maker, "create-token", nodes="web-9").items[0]["id"] for name, maker in makers.items()}
    tried = {**requests(jobs, tokens), **{name: [fields] for name, fields in ADMINS.items()}}
    assert tried.keys() == TABLE.keys()
    for name, fields in tried.items():
        may = role in HAVE[TABLE[name][1]]
        found = [ask(role, name, **one) for one in fields]
        assert (found[0].exit != 7) == may, (name, found[0])
        assert may or f"needs the role {TABLE[name][1]}" in found[0].error, (name, found[0])
        assert "could not carry this out" not in found[0].error, (name, found[0])
        for beyond in found[1:]:
            assert (beyond.exit != 7) == (role == "admin"), (name, beyond)


def audit_lines(server: Fleet, ask: Ask) -> list[dict[str, Any]]:
    """The audit log, which is whole."""
    assert ask("admin", "verify-audit").items[0]["faults"] == []
    (path,) = (server.folder / "server").rglob("audit-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def of(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Command and event of each line."""
    return [(row["command"], row["event"]) for row in rows]


@pytest.fixture
def third(server: Fleet) -> Iterator[None]:
    """One more node, for a test."""
    server.start_client("web-3")
    server.wait_online(["web-3"])
    yield
    server.kill("web-3")
    server.director("--purge-nodes", "--node", "web-3")


def test_every_command_that_does_something_is_written_down(
    server: Fleet, ask: Ask, jobs: dict[str, str], third: None
) -> None:
    admin = USERS["admin"]
    table = commands(None).table
    token = ask("admin", "create-token").items[0]["id"]
    open_job = ask("admin", "submit", **submission("web-1", "RUN sleep 1000")).items[0]["jobs"][0]["id"]
    final = server.submit("--target", "web-1", "--exec", "RUN true")
    server.wait_job(final)
    acts = requests(jobs, {"own": token, "other": token}) | {
        "cancel": [{"ids": [open_job]}],
        "purge-jobs": [{"ids": [final]}],
        "revoke-node": [{"node": "web-3"}],
        "purge-nodes": [{"node": "web-3"}],
        "rotate-key": [{"node": "web-2"}],
        "label-node": [{"node": "web-2", "labels": {"rack": "7"}}],
        "verify-audit": [{}],
    }
    assert acts.keys() == table.keys()
    for name in sorted(acts, key=lambda name: name == "purge-nodes"):  # after the node was revoked
        before = len(audit_lines(server, ask))
        found = ask("admin", name, **acts[name][0])
        assert "could not carry this out" not in found.error
        expected = [(name, "command")] * table[name].audited + [(name, "failed")] * (found.exit != 0)

        def written(start: int = before) -> list[dict[str, Any]]:
            return [row for row in audit_lines(server, ask)[start:] if row["event"] in ("command", "failed")]

        wait_until(lambda wanted=expected: of(written()) == wanted, f"{name} is written down")  # type: ignore[misc]
        rows = written()
        assert all((row["uid"], row["role"], row["user"]) == (admin.uid, "admin", str(admin.uid)) for row in rows)


def test_refusals_are_written_down(server: Fleet, ask: Ask) -> None:
    user = User(61005)  # others were refused too often in these tests to have a line each

    def denied() -> list[dict[str, Any]]:
        rows = audit_lines(server, ask)
        return [row for row in rows if row["event"] == "denied" and row["uid"] == user.uid]

    before = len(denied())
    assert user.ask(server.socket_path, "submit", **submission("db-1", args={"A": "geheim"})).exit == 7
    assert user.ask(server.socket_path, "purge-jobs").exit == 7
    assert ask("nobody", "list-jobs").exit == 7
    outside, role = wait_until(lambda: len(denied()) == before + 2 and denied()[before:], "two lines")
    assert (outside["command"], outside["role"], role["command"]) == ("submit", "operator", "purge-jobs")
    assert "db-1 is outside of your nodes" in outside["reason"] and "geheim" not in str(outside)
    assert "needs the role admin" in role["reason"]
    assert not any(row.get("uid") == USERS["nobody"].uid for row in audit_lines(server, ask)), "strangers are counted"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("db-1", "RUN true"),
        ("web-1,db-1", "RUN true"),
        ("web-[1-2] or db-1", "RUN true"),
        ("all and not db-1", "RUN true"),
        ("", "FROM db-1\nRUN true"),
        ("", "FROM web-1\nRUN true\nFROM db-1\nRUN true"),
        ("web-1", "COPY --from=db-1 /etc/shadow /tmp/x"),
        ("web-1", "QUERY --target=db-1 hostname"),
        ("web-1,db-1", "RUN --run-once true"),
        ("db-1", "FETCH /etc/hostname /tmp/"),
        ("", "- targets: [web-1, db-1]\n  jobs:\n  - RUN: true\n    assign: [db-1]"),
        ("", "- targets: all\n  jobs:\n  - RUN: true\n    assign: [db-1]"),
    ],
)
def test_no_way_leads_to_a_node_outside(ask: Ask, target: str, text: str) -> None:
    before = ask("admin", "list-jobs").items
    for do in ("submit", "plan"):
        found = ask("operator", do, **submission(target, text))
        assert found.exit == 7 and "db-1 is outside of your nodes (web-*)" in found.error
    assert ask("admin", "list-jobs").items == before, "nothing was accepted"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("", "RUN true"),
        ("all", "RUN true"),
        ("*-1,*-2", "RUN true"),
        ("fact:cpu.count>0", "RUN true"),
        ("not web-9*", "RUN true"),
        ("", "FROM all\nRUN true"),
        ("all", "QUERY --target=all hostname"),
        ("all", "RUN --run-once true"),
        ("", "- targets: all\n  jobs:\n  - RUN: true\n    assign: ['*']"),
    ],
)
def test_broad_targets_mean_the_nodes_of_the_role(server: Fleet, ask: Ask, target: str, text: str) -> None:
    found = ask("operator", "submit", **submission(target, text))
    assert found.exit == 0 and found.items[0]["notes"] == ["targets mean your nodes only: web-*"]
    job = server.wait_job(found.items[0]["jobs"][0]["id"])
    assert job["state"] == "success"
    assert {task["node"] for step in job["steps"] for task in step["tasks"]} <= {"web-1", "web-2"}
    assert "db-1" not in job["steps"][0]["tasks"][0]["stdout"]


def test_names_need_no_note(ask: Ask) -> None:
    assert ask("operator", "submit", **submission("web-[1-2]")).items[0]["notes"] == []


def test_files_between_nodes_of_the_role(server: Fleet, ask: Ask) -> None:
    folder = server.folder / "between"
    text = f"WORKDIR {folder}\nCOPY --from=web-2 /etc/hostname {folder}/copied"
    found = ask("operator", "submit", **submission("web-1", text))
    assert server.wait_job(found.items[0]["jobs"][0]["id"])["state"] == "success"


def test_listings_have_only_what_is_inside(ask: Ask, jobs: dict[str, str]) -> None:
    def listed(role: str, do: str, **fields: Any) -> set[str]:
        return {row["id"] for row in ask(role, do, **fields).rows}

    hidden = {jobs["outside"], jobs["copies"], jobs["queries"]}
    for do in ("list-jobs", "export-jobs"):
        assert {jobs["inside"], *hidden} <= listed("admin", do)
        assert jobs["inside"] in listed("viewer", do) and not hidden & listed("viewer", do)
    assert jobs["inside"] in listed("viewer", "list-jobs", node="web-2")
    assert ask("viewer", "list-jobs", node="db-1").exit == 7
    for name in ("copies", "queries", "outside"):
        for role, do in (("viewer", "job-info"), ("viewer", "wait"), ("operator", "cancel"), ("operator", "resume")):
            fields = {"ids": [jobs[name]]} if do in ("wait", "cancel") else {"id": jobs[name][:20]}
            more = {"new_id": ids.new_job_id(), "options": {"target": ["web-1"]}} if do == "resume" else {}
            found = ask(role, do, **fields, **more)
            assert found.exit == 7 and "reaches nodes outside of your nodes" in found.error, (name, do, found)
            assert "db-1" not in found.error
    for do in ("list-nodes", "export-nodes"):
        assert listed("viewer", do) == {"web-1", "web-2"} and "db-1" in listed("admin", do)
    assert ask("viewer", "hello").items[0]["nodes"] == {"online": 2}
    assert ask("viewer", "node-info", node="db").exit == 6, "a prefix tells nothing of other nodes"


def test_the_last_job_is_the_last_inside(server: Fleet, ask: Ask) -> None:
    job = ask("operator", "submit", **submission("web-1")).items[0]["jobs"][0]["id"]
    server.submit("--target", "db-1", "--exec", "RUN true")
    assert ask("viewer", "job-info", id="last").items[0]["id"] == job


def test_open_jobs_outside_are_kept_from_callers(server: Fleet, ask: Ask) -> None:
    job = server.submit("--target", "web-1,db-1", "--exec", "RUN sleep 1000")
    wait_until(lambda: server.job(job)["state"] == "running", "it runs")
    assert ask("operator", "cancel", ids=[job]).exit == 7
    assert ask("viewer", "wait", ids=[job]).exit == 7
    assert job not in str(ask("viewer", "list-jobs").items)
    assert server.job(job)["state"] == "running"
    assert ask("admin", "cancel", ids=[job]).exit == 0
    server.wait_job(job)


def test_a_token_enrols_no_name_outside(ask: Ask) -> None:
    def nodes(**fields: Any) -> str:
        return str(ask("enroller", "create-token", **fields).items[0]["nodes"])

    assert nodes() == "web-*"
    assert nodes(nodes="*-7") == "*-7 of web-*"
    assert ask("admin", "create-token").items[0]["nodes"] is None
    found = ask("enroller", "create-token", nodes="web-9,db-9")
    assert found.exit == 7 and "db-9 is outside" in found.error
    found = ask("enroller", "create-token", labels={"tier": "web"})
    assert found.exit == 7 and "the label tier decides who may do what" in found.error
    assert ask("admin", "create-token", labels={"tier": "web"}).exit == 0
    mine = ask("enroller", "list-tokens").rows
    assert {row["created_by"] for row in mine} == {"61003"} and len(mine) < len(ask("admin", "list-tokens").rows)


def test_labels_that_decide_are_set_by_admins_only(server: Fleet, ask: Ask) -> None:
    for text in ("LABEL tier=web", "LABEL rack=1 tier=", "ARG A=tier\nLABEL $A=web"):
        found = ask("operator", "submit", **submission("web-2", text))
        assert found.exit == 7 and "the label tier decides who may do what" in found.error
    labelled = User(61005)
    found = labelled.ask(server.socket_path, "submit", **submission("web-2"))
    assert found.exit == 7 and "web-2 is outside of your nodes (label:tier=web)" in found.error
    job = ask("admin", "submit", **submission("web-2", "LABEL tier=web rack=1")).items[0]["jobs"][0]["id"]
    assert server.wait_job(job)["state"] == "success"
    assert labelled.ask(server.socket_path, "submit", **submission("web-2", "LABEL rack=2")).exit == 0
    assert labelled.ask(server.socket_path, "submit", **submission("web-1")).exit == 7
    assert ask("operator", "resume", id=job, new_id=ids.new_job_id()).exit == 7, "the job sets the label"
    assert ask("admin", "resume", id=job, new_id=ids.new_job_id()).exit == 0


def test_who_has_no_role_is_told_so(server: Fleet, ask: Ask) -> None:
    found = ask("nobody", "list-jobs")
    assert (found.exit, found.error) == (7, "61009 may not do this: it needs the role viewer, which an admin gives")
    assert server.director("--list-nodes").returncode == 0, "root is listed"


def test_keys_that_wait_are_shown_for_names_inside(server: Fleet, ask: Ask) -> None:
    for name in ("web-1", "db-1"):
        server.start_client(f"other-{name}", "--identity", name)
    try:
        admins = {"node": "web-1,db-1"}
        wait_until(lambda: len(ask("admin", "list-waiting", **admins).rows) == 2, "both keys wait")
        for role, do, fields in (
            ("enroller", "list-waiting", {"node": "*"}),
            ("viewer", "list-nodes", {"state": ["pending"]}),
        ):
            assert {row["id"] for row in ask(role, do, **fields).rows} == {"web-1"}
        keys = {row["id"]: row["key"] for row in ask("admin", "list-waiting", **admins).rows}
        assert ask("enroller", "reject-node", nodes=[["web-1", keys["web-1"]], ["db-1", keys["db-1"]]]).exit == 7
        assert ask("enroller", "accept-node", nodes=[["db-1", keys["db-1"]]]).exit == 7
        assert {row["id"] for row in ask("admin", "list-waiting", **admins).rows} == {"web-1", "db-1"}
    finally:
        for name in ("web-1", "db-1"):
            server.kill(f"other-{name}")


def test_nodes_of_a_token_are_revoked_inside_only(server: Fleet, ask: Ask) -> None:
    read_again(server, ROLES.replace("enroller: {'61003': web-*}", "enroller: ['61003']"), "roles were read again")
    token = ask("enroller", "create-token", nodes="db-7").items[0]
    server.start_client("db-7", env={"DIRECTOR_TOKEN": token["token"], "DIRECTOR_IDENTITY": "db-7"})
    server.wait_online(["db-7"])
    read_again(server, ROLES, "roles were read again")
    found = ask("enroller", "revoke-token", id=token["id"], with_nodes=True)
    assert found.exit == 7 and "db-7 is outside" in found.error
    assert {row["id"]: row["state"] for row in ask("admin", "list-tokens").rows}[token["id"]] == "valid"
    assert server.nodes()["db-7"]["state"] == "online"
    assert ask("enroller", "revoke-token", id=token["id"]).exit == 0


def read_again(server: Fleet, text: str, said: str) -> None:
    """Give the server other roles; return when its log says what came of it."""
    before = server.log("server").count(said)
    (server.folder / "none.yaml").write_text(text)
    server.kill("server", signal.SIGHUP)
    wait_until(lambda: server.log("server").count(said) > before, said)


def test_roles_are_read_again_at_sighup(server: Fleet, ask: Ask) -> None:
    read_again(server, ROLES + "  viewer: [x]\n", "roles stay as they were")
    assert ask("nobody", "hello").exit == 7
    read_again(server, "", "roles stay as they were: no settings file has roles any more")
    assert ask("nobody", "hello").exit == 7
    read_again(server, ROLES.replace("{'61001': web-*}", "['@62009', '61001']"), "roles were read again")
    assert ask("nobody", "hello").exit == 0 and ask("nobody", "cancel", ids=[]).exit == 7
    read_again(server, ROLES.replace("root, ", ""), "roles were read again")
    done = server.director("--exec", "RUN true")
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr == "director: root may not do this: it needs the role operator, which an admin gives\n"
    read_again(server, ROLES, "roles were read again")
    assert ask("nobody", "hello").exit == 7


def test_a_call_that_is_open_has_no_rights_that_were_taken_away(server: Fleet) -> None:
    user, reader = USERS["operator"], USERS["viewer"]
    text = submission("web-1", "RUN --mount=type=secret,id=db,env=X true")
    with user.open(server.socket_path) as call, reader.open(server.socket_path) as stream:
        call.send({"do": "submit", "secrets": ["db"], **text})
        question = reply(call)["seal"]
        stream.send({"do": "events"})
        assert reply(stream)["ok"]
        read_again(server, "roles: {admin: [root], operator: {'61005': web-*}}", "roles were read again")
        call.send(Sealer({"db": b"s3cr3t"}).answer(question))
        for channel in (call, stream):
            answer = reply(channel)
            assert (answer["exit"], answer["error"]) in GONE, answer
    read_again(server, ROLES, "roles were read again")
    assert server.director("--list-jobs", text["files"][0]["id"]).returncode == 6


GONE = {
    (7, "61002 may not do this: it needs the role operator, which an admin gives"),
    (7, "61001 may not do this: it needs the role viewer, which an admin gives"),
}


def reply(channel: Channel) -> dict[str, Any]:
    """The next header that is more than a sign of life."""
    while (frame := channel.receive()) is not None:
        if "alive" not in frame[0]:
            return frame[0]
    raise AssertionError("the server ended the connection")


def test_services_of_the_server_alone_give_nothing_to_a_role_for_some_nodes(server: Fleet, ask: Ask) -> None:
    asked: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if self.path == "/away" else 200)
            self.send_header("Location", "/there")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    class Everywhere(HTTPServer):
        address_family = socket.AF_INET6

    with Everywhere(("::", 0), Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        port = service.server_port
        for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"):
            found = ask("operator", "submit", **submission("web-1", f"ADD http://{host}:{port}/here /tmp/x"))
            assert found.exit == 2 and "cannot be fetched" in found.error, (host, found)
        assert not asked
        text = f"ADD http://127.0.0.1:{port}/away {server.folder}/x"
        assert ask("admin", "submit", **submission("web-1", text)).exit == 0
        assert asked == ["/away", "/there"]
        service.shutdown()


def test_one_cancel_has_one_line_for_a_job(server: Fleet, ask: Ask) -> None:
    job = server.submit("--target", "web-1", "--exec", "RUN sleep 60")
    assert ask("admin", "cancel", ids=[job, job[:12]] * 500).items == [{"jobs": [{"id": job, "was_final": False}]}]
    assert not ask("admin", "verify-audit").items[0]["waiting"], "the files have all lines"
    lines = (server.folder / "server/server/audit").glob("audit-*.jsonl")
    found = [line for path in lines for line in path.read_text().splitlines() if f'"job":"{job}"' in line]
    assert len([line for line in found if '"command":"cancel"' in line]) == 1


def test_values_that_nobody_expects_are_an_answer(server: Fleet, ask: Ask) -> None:
    for do, fields in (
        ("list-nodes", {"since": 1e300}),
        ("list-nodes", {"limit": -1}),
        ("list-jobs", {"limit": 2**70}),
        ("job-info", {"id": "\ud800"}),
        ("job-info", {"id": "\U0010ffff"}),
    ):
        assert ask("admin", do, **fields).exit in (1, 2, 6), (do, fields)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roles:\n  operator:\n    ann: fact:os.id=debian\n", ":3: the nodes of ann: target `fact:os.id=debian`"),
        ("roles:\n  boss: [ann]\n", ":2: boss is no role"),
        ("roles: {}\n", ":1: roles gives nobody a role"),
    ],
)
def test_a_server_with_malformed_roles_does_not_start(new_fleet: Callable[..., Fleet], text: str, said: str) -> None:
    fleet = new_fleet()
    (fleet.folder / "none.yaml").write_text(text)
    done = fleet.director("--server", "--state-dir", str(fleet.folder / "server"))
    assert (
        done.returncode == 2 and f"{fleet.folder / 'none.yaml'}{said}" in done.stderr and "Traceback" not in done.stderr
    )
