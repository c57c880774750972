"""A name that a second key asks for: refused while its holder lives, taken over when it is silent."""

from __future__ import annotations

from harness import Fleet, wait_until


def pending(fleet: Fleet) -> list[str]:
    """Why newcomers were refused."""
    return [row["reason"] for row in fleet.run_json("--list-nodes", "--state", "pending")]


def test_a_name_goes_to_another_key_with_its_labels_and_its_tasks(fleet: Fleet) -> None:
    fleet.start_client("first", "--identity", "web")
    fleet.wait_online(["web"])
    fleet.run_json("--exec", "LABEL tier=web owner=me", "--wait")
    fleet.start_client("second", "--identity", "web")
    assert "--identity" in wait_until(lambda: pending(fleet), "the second key is refused")[0]
    assert fleet.log("server").count("--identity") == 1, "one clear line"

    runs = fleet.submit("--exec", "RUN sleep 600")
    wait_until(lambda: fleet.job(runs)["tasks"]["running"], "the task runs")
    fleet.kill("first")
    waits = fleet.submit("--exec", "RUN echo {{ node.labels.tier }}", "--target", "web")
    assert fleet.wait_job(waits)["steps"][0]["tasks"][0]["stdout"] == "web\n"
    task = fleet.job(runs)["steps"][0]["tasks"][0]
    assert task["state"] == "lost" and "took over" in task["reason"]

    node = fleet.run_json("--node-info", "web")
    assert "took over" in node["reason"] and node["labels"] == {"tier": "web", "owner": "me"}
    for log in (fleet.log("server"), fleet.log("second")):
        assert [line for line in log.splitlines() if "warning" in line and "took over" in line]
    assert pending(fleet) == []

    fleet.run_json("--exec", "LABEL owner=", "--wait")
    fleet.stop("second")
    fleet.restart("second")
    fleet.wait_online(["web"])
    assert fleet.run_json("--list-nodes", "--node", "label:tier=web")[0]["labels"] == {"tier": "web"}
    assert fleet.log("second").count("took over") == 1, "told once"

    fleet.kill("second")
    fleet.restart("first")  # which has kept the label that is gone since
    wait_until(lambda: "took over" in fleet.log("first"), "the first key has the name again")
    assert fleet.run_json("--exec", "ECHO {{ node.labels }}", "--target", "web", "--wait")["state"] == "success"
    assert fleet.nodes()["web"]["labels"] == {"tier": "web"}
