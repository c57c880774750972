"""Another front door than the socket needs no logic of its own: HTTP on loopback before a real server and client."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Fleet, free_ports

from director.ids import new_job_id

HERE = Path(__file__).parent


class Http:
    """Asks the front door."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/"

    def items(self, command: str, **fields: Any) -> Iterator[Any]:
        """The items of the answer, each as it comes."""
        request = urllib.request.Request(self._url + command, json.dumps(fields).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=120) as answer:
            yield from map(json.loads, answer)

    def ask(self, command: str, **fields: Any) -> Any:
        """The answer, which is one item."""
        (item,) = self.items(command, **fields)
        return item

    def refused(self, command: str, **fields: Any) -> Any:
        """The error that it must be answered with."""
        with pytest.raises(urllib.error.HTTPError) as error:
            self.ask(command, **fields)
        with error.value as answer:
            return json.load(answer)

    def submit(self, text: str, **fields: Any) -> str:
        """Submit one text; the job's id."""
        answer = self.ask("submit", files=[file(text)], **fields)
        return str(answer["jobs"][0]["id"])


def file(text: str) -> dict[str, str]:
    return {"id": new_job_id(), "kind": "exec", "name": "exec", "form": "containerfile", "text": text, "folder": "/"}


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A server with both front doors, and one client."""
    fleet = Fleet()
    try:
        fleet.programs["server"] = [str(HERE / "http_server.py"), str(free_ports(1)[0])]
        fleet.start_server()
        fleet.wait_online(fleet.start_clients(1))
        yield fleet
        if request.session.testsfailed:
            print(fleet.tails())
    finally:
        fleet.close()


@pytest.fixture
def http(fleet: Fleet) -> Http:
    return Http(int(fleet.programs["server"][1]))


def test_the_front_door_is_small() -> None:
    assert len((HERE / "http_front_door.py").read_text().splitlines()) <= 60


@pytest.mark.slow
def test_a_submission_with_files_is_accepted_run_and_listed(fleet: Fleet, http: Http) -> None:
    text = f"COPY note.txt {fleet.folder}/copied\nRUN cat {fleet.folder}/copied"
    job = http.submit(text, sources={"note.txt": "from the request\n"})
    *_, last = ([], *http.items("wait", ids=[job]))
    assert not last or {row["id"] for row in last["jobs"]} == {job}
    info = http.ask("job-info", id=job)
    assert (info["state"], info["submitted_by"]) == ("success", "http")
    assert info["steps"][1]["tasks"][0]["stdout"] == "from the request\n"
    assert http.ask("list-jobs") == fleet.run_json("--list-jobs")
    assert fleet.job(job) == info


@pytest.mark.slow
def test_a_job_is_cancelled_while_somebody_waits(http: Http) -> None:
    job = http.submit("RUN sleep 1000")
    events = http.items("wait", ids=[job])
    assert next(events)["jobs"][0]["id"] == job
    assert http.ask("cancel", ids=[job]) == {"jobs": [{"id": job, "was_final": False}]}
    assert all(event["jobs"][0]["id"] == job for event in events)
    assert http.ask("job-info", id=job)["state"] == "cancelled"
    assert list(http.items("wait", ids=[job])) == []


@pytest.mark.slow
def test_errors_are_those_of_the_commands(http: Http) -> None:
    assert http.refused("submit", files=[file("COPY other /x")]) == {
        "error": "exec:1: other did not come with the request", "exit": 2,
    }  # fmt: skip
    assert http.refused("job-info", id="nothing")["exit"] == 6
    assert http.refused("cancel", ids="one") == {"error": "ids: expected a list, not 'one'", "exit": 2}
    assert "no command 'none'" in http.refused("none")["error"]


@pytest.mark.slow
def test_lists_come_in_parts(http: Http) -> None:
    ((node,),) = http.items("list-nodes")
    assert (node["id"], node["state"]) == ("node-1", "online")
    assert [[row["id"] for row in part] for part in http.items("export-nodes")] == [["node-1"]]
