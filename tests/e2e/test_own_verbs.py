"""Verbs of the operator's own: used, updated, refused and explained, with real nodes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from harness import ROOT, Fleet, wait_until

HELLO = ROOT / "docs/examples/verbs/hello.py"
BROKEN = """from director.verbs.base import Verb


class Odd(Verb):
    \"\"\"ODD: goes wrong.\"\"\"

    name = "ODD"

    def parse(self, instruction, planning):
        return {"at": instruction.text}

    def apply(self, body, flags, node):
        return 1 / len(body["at"][1:])
"""


@pytest.fixture
def own(fleet: Fleet) -> tuple[Fleet, Path]:
    """Two nodes, and a server whose verbs' folder has HELLO in it."""
    place = fleet.folder / "verbs"
    place.mkdir(mode=0o755)
    put(place / "hello.py", HELLO.read_text())
    fleet.stop("server")
    fleet.start_server("--verbs-path", str(place))
    fleet.wait_online(fleet.start_clients(2))
    return fleet, place


def put(path: Path, text: str) -> None:
    """A file that only its owner can write."""
    path.write_text(text)
    path.chmod(0o644)


def output(fleet: Fleet, text: str, *args: str) -> dict[str, str]:
    """What the last step of these instructions returned, by node."""
    job = fleet.run_json("--exec", text, "--wait", *args)
    return {task["node"]: task["stdout"] for task in job["steps"][-1]["tasks"]}


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a submission that is refused."""
    assert done.returncode == 2 and done.stdout == "", (done.stdout, done.stderr)
    (line,) = done.stderr.splitlines()
    return line


def test_an_own_verb_is_used_explained_and_updated(own: tuple[Fleet, Path]) -> None:
    fleet, place = own
    twice = output(fleet, "HELLO --times=2 {{ node.id | upper }}")["node-2"]
    assert twice == "hello NODE-2 from node-2\nhello NODE-2 from node-2"
    assert output(fleet, "HELLO --stdout-arg SAID --loud you\nECHO {{ SAID }}")["node-1"] == "HELLO YOU FROM NODE-1"
    manual = fleet.director("--exec", "HELLO --help")
    assert manual.returncode == 0 and manual.stdout.startswith("HELLO TEXT: greet somebody")
    assert "--loud" in manual.stdout and "--timeout" in manual.stdout
    assert "HELLO --times is less than 1" in refusal(fleet.director("--exec", "HELLO --times=0 a"))
    assert "did you mean HELLO?" in refusal(fleet.director("--exec", "HELO a"))

    file = fleet.folder / "app.yaml"
    file.write_text("- jobs:\n  - HELLO: world\n    vars: {loud: true}\n")
    first = fleet.run_json("--orchestrate", str(file), "--wait")
    assert first["steps"][0]["tasks"][0]["stdout"] == "HELLO WORLD FROM NODE-1"
    assert fleet.run_json("--orchestrate", str(file), "--wait")["tasks"]["cached"] == 2
    put(place / "hello.py", HELLO.read_text().replace("hello {text} from", "good day {text}, says"))
    plan = fleet.run_json("--plan", str(file))
    assert {row["action"] for row in plan["steps"][0]["nodes"]} == {"run"}
    changed = fleet.run_json("--orchestrate", str(file), "--wait")
    assert changed["steps"][0]["tasks"][0]["stdout"] == "GOOD DAY WORLD, SAYS NODE-1"


def test_what_is_wrong_in_a_file(own: tuple[Fleet, Path]) -> None:
    fleet, place = own
    put(place / "odd.py", BROKEN)
    job = fleet.run_json("--exec", "ODD a", "--wait", "--target", "node-1", exit_code=1)
    reason = job["steps"][0]["tasks"][0]["reason"]
    assert f"{place}/odd.py:13: ODD failed: ZeroDivisionError" in reason
    put(place / "odd.py", BROKEN.replace('return {"at": instruction.text}', 'return {"at": nothing}'))
    assert f"exec:1: ODD cannot be used: {place}/odd.py:10: NameError" in refusal(fleet.director("--exec", "ODD a"))
    put(place / "odd.py", BROKEN.replace("return {", "return ["))
    assert f"exec:1: ODD cannot be used: {place}/odd.py:10" in refusal(fleet.director("--exec", "ODD a"))
    for text in ("ODD --flag=x a", "ODD --timeout=3 a"):
        assert f"exec:1: ODD cannot be used: {place}/odd.py:10" in refusal(fleet.director("--exec", text))
    put(place / "odd.py", "import nowhere_to_be_found\n" + BROKEN)
    said = f"ODD cannot be used: {place}/odd.py:1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    assert said in refusal(fleet.director("--exec", "ODD --flag=x a"))
    file = fleet.folder / "odd.yaml"
    file.write_text("- jobs:\n  - ODD: a\n    vars: {flag: x}\n")
    assert f"{file}:2: {said}" in refusal(fleet.director("--orchestrate", str(file)))
    assert output(fleet, "HELLO a")["node-1"], "the others go on"
    put(place / "odd.py", "import director\n")
    assert "odd.py defines no verb" in refusal(fleet.director("--exec", "ODD a"))
    put(place / "odd.py", BROKEN.replace('"ODD"', '"RUN"'))
    assert "RUN is a built-in verb" in refusal(fleet.director("--exec", "ODD a"))
    assert output(fleet, "RUN echo a")["node-1"] == "a\n"
    assert "odd.py" in refusal(fleet.director("--exec", "ODD --help"))


def test_what_cached_carries_is_there_for_the_next_steps(own: tuple[Fleet, Path]) -> None:
    fleet, place = own
    page = (ROOT / "docs/own-verbs.md").read_text()
    imports, body = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    head = (
        f'{imports}import os\nis_there, make = os.path.isdir, os.mkdir\n\nclass Place(Verb):\n    """PLACE PATH."""\n\n'
    )
    parse = "\n    def parse(self, instruction, planning):\n        return whole(instruction, planning)\n"
    put(place / "place.py", f'{head}    name = "PLACE"\n{body}{parse}')
    file = fleet.folder / "place.director"
    path = f"{fleet.folder}/{{{{ node.id }}}}-place"
    file.write_text(f"PLACE --stdout-arg OUT {path}\nECHO --skip-cache {{{{ PLACE }}}} {{{{ OUT }}}}\n")
    for state in ("success", "cached"):
        job = fleet.run_json("--orchestrate", str(file), "--wait")
        assert {task["state"] for task in job["steps"][0]["tasks"]} == {state}
        said = f"{fleet.folder}/node-1-place"
        assert job["steps"][1]["tasks"][0]["stdout"] == f"{said} {said}"


def test_who_may_write_it(own: tuple[Fleet, Path]) -> None:
    fleet, place = own
    (place / "hello.py").chmod(0o666)
    assert "expected chmod go-w" in refusal(fleet.director("--exec", "HELLO a"))
    (place / "hello.py").chmod(0o644)
    assert output(fleet, "HELLO a")["node-1"]
    if os.geteuid() == 0:
        os.chown(place / "hello.py", 12345, 12345)
        assert "belongs to uid 12345" in refusal(fleet.director("--exec", "HELLO a"))


def test_nothing_comes_from_the_working_folder(own: tuple[Fleet, Path]) -> None:
    fleet, _ = own
    elsewhere = fleet.folder / "here"
    elsewhere.mkdir()
    put(elsewhere / "odd.py", BROKEN)
    done = fleet.director("--exec", "ODD a", cwd=elsewhere)
    assert "unknown instruction 'ODD'" in done.stderr


TRAITS = '''from director.verbs.base import Verb, cached, success
from director.verbs.arguments import whole


class {name}(Verb):
    """{name} TEXT: note in a file that it ran, and say how often it did."""

    name = "{name}"
    {traits}

    def parse(self, instruction, planning):
        return whole(instruction, planning)

    def apply(self, body, flags, node):
        with open(node.word(body["text"]), "a+") as file:
            file.write("x")
            file.seek(0)
            text = str(len(file.read()))
        return {how}(text)
'''


def with_traits(name: str, traits: str = "", how: str = "success") -> str:
    """A verb that is told apart by what it declares."""
    return TRAITS.format(name=name, traits=traits, how=how)


def test_a_verb_is_cached_only_as_it_declares(own: tuple[Fleet, Path]) -> None:
    """An old output is no answer of today, unless the verb says that the chain can be trusted."""
    fleet, place = own
    put(place / "plain.py", with_traits("PLAIN"))
    put(place / "trusts.py", with_traits("TRUSTS", "trusts_chain = True"))
    put(place / "compares.py", with_traits("COMPARES", "compares = True", "cached"))
    put(place / "often.py", with_traits("OFTEN", "always = True"))
    file = fleet.folder / "app.director"

    def run(verb: str, flag: str = "") -> tuple[list[str], str, list[tuple[str, str]]]:
        """States of the verb and a step behind it, the file's text, and what the plan had said."""
        file.write_text(f"{verb} {flag} {fleet.folder}/{verb}\nRUN echo behind {{{{ N | default('') }}}}\n")
        given = (str(file), "--target", "node-1", "--name", f"{verb}{flag}")
        plan = [step["nodes"][0] for step in fleet.run_json("--plan", *given)["steps"]]
        job = fleet.run_json("--orchestrate", *given, "--wait")
        states = [step["tasks"][0]["state"] for step in job["steps"]]
        return states, (fleet.folder / verb).read_text(), [(row["action"], row["reason"]) for row in plan]

    assert run("PLAIN")[:2] == (["success"] * 2, "x")
    states, text, plan = run("PLAIN")
    assert (states, text) == (["success", "cached"], "xx"), "it ran again, and changed no value"
    assert plan[0][0] == "run" and "runs each time" in plan[0][1] and plan[1][0] == "cached"
    run("PLAIN", "--stdout-arg N")
    states, text, plan = run("PLAIN", "--stdout-arg N")
    assert (states, text) == (["success", "success"], "xxxx"), "its output is another, so what stands behind it runs"
    assert plan[1] == ("unknown", "N is set by step 1")

    run("TRUSTS", "--stdout-arg N")
    states, text, plan = run("TRUSTS", "--stdout-arg N")
    assert (states, text) == (["cached", "cached"], "x") and [action for action, _ in plan] == ["cached", "cached"]

    run("COMPARES")
    states, text, plan = run("COMPARES")
    assert (states, text) == (["cached", "cached"], "xx")
    assert plan[0] == ("unknown", "it compares with what is there, and only the run can tell")
    assert plan[1][0] == "unknown" and "step 1" in plan[1][1]

    run("OFTEN")
    states, text, plan = run("OFTEN")
    assert (states, text) == (["success", "cached"], "xx")
    assert plan == [("run", "always applied: it runs each time"), plan[1]]


SLOW = '''import os

from director.verbs.base import Verb, cached, success
from director.verbs.arguments import whole


class Slow(Verb):
    """SLOW FILE: make the file, then wait for FILE.go."""

    name = "SLOW"
    compares = True

    def parse(self, instruction, planning):
        return whole(instruction, planning)

    def apply(self, body, flags, node):
        path = node.word(body["text"])
        if os.path.exists(path):
            return cached()
        open(path, "w").close()
        while not os.path.exists(f"{path}.go"):
            node.sleep(0.02)
        return success()
'''


@pytest.mark.parametrize("end", ["kill", "cancel"])
def test_steps_behind_a_change_that_was_cut_short_run(own: tuple[Fleet, Path], end: str) -> None:
    fleet, place = own
    put(place / "slow.py", SLOW)
    made, go = fleet.folder / "made", fleet.folder / "made.go"
    file = fleet.folder / "app.director"
    file.write_text(f"SLOW {made}\nRUN echo restart\n")
    given = ("--orchestrate", str(file), "--target", "node-1")
    go.touch()
    assert fleet.run_json(*given, "--wait")["state"] == "success"
    go.unlink()
    made.unlink()
    job = fleet.submit(*given)
    wait_until(made.exists, "the first step has changed the node")
    if end == "kill":
        fleet.kill("node-1")
        fleet.restart("node-1")
    else:
        fleet.director("--cancel-job", job)
    fleet.wait_job(job)
    done = fleet.run_json(*given, "--wait")
    assert [step["tasks"][0]["state"] for step in done["steps"]] == ["cached", "success"]


def test_no_own_verb_sets_labels(own: tuple[Fleet, Path]) -> None:
    fleet, place = own
    text = BROKEN.replace('return 1 / len(body["at"][1:])', "return success(labels={'tier': 'db'})")
    put(place / "odd.py", text.replace("import Verb", "import Verb, success"))
    job = fleet.run_json("--exec", "ODD x", "--wait", exit_code=1)
    assert {task["reason"] for task in job["steps"][0]["tasks"]} == {"ODD sets labels; only LABEL and --label-node can"}
    assert not any(node["labels"] for node in fleet.nodes().values())
