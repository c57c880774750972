"""What another node said is data: a node that sets an ARG to shell code attacks a node that uses it, by every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness import Fleet, tasks_of, wait_until

PAYLOADS = ("$(touch {0})", "; touch {0}", "x\ntouch {0}", "`touch {0}`", "a'; touch {0}; 'b")
SAID = "query['node-1'].EVIL"
SETS = """\
FROM node-1
RUN --stdout-arg EVIL cat {path}
FROM node-2
QUERY --stdout-arg BY_GATHERING EVIL
ARG BY_ARG={{ SAID }}
ENV BY_ENV={{ SAID }}
ARG BY_DOLLAR=$BY_ENV
RUN --stdout-arg BY_OUTPUT printf %s "$BY_ENV"
""".replace("SAID", SAID)
ATTACKED = [
    step.replace("SAID", SAID)
    for step in (
        "RUN echo {{ SAID }}",
        "RUN --user 0 echo {{ (SAID ~ ' ') | list | join }}",
        "RUN {% set a %}{{ SAID }}{% endset %}echo {{ a }}",
        "RUN echo {% for node in query.values() %}{% for key in node %}{{ node[key] }} {% endfor %}{% endfor %}",
        "RUN {% macro m(x) %}{{ x }}{% endmacro %}echo {{ m(SAID) }}",
        "RUN echo {{ BY_ARG }}",
        "RUN echo {{ BY_ENV }}",
        "RUN echo {{ BY_DOLLAR }}",
        "RUN echo {{ BY_OUTPUT }}",
        "RUN echo {{ BY_GATHERING['node-1'].EVIL }}",
        "RUN <<EOF\necho {{ SAID }}\nEOF",
        "RUN <<EOF\n#!/bin/sh\necho {{ SAID }}\nEOF",
        "RUN <<EOF sh\necho {{ SAID }}\nEOF",
        "RUN cat <<EOF - <<'FOE'\n{{ SAID }}\nEOF\n{{ SAID }}\nFOE",
        "WAIT --retry 1 --cmd echo {{ SAID }}",
        "HEALTHCHECK --retries=1 CMD echo {{ SAID }}",
    )
]
SAFE = [
    f"RUN printf %s {{{{ {SAID} | quote }}}}",
    'RUN printf %s "$BY_ENV"',
    'RUN printf %s "$BY_ARG"',
    f'RUN ["printf", "%s", "{{{{ {SAID} }}}}"]',
]


class Trap(NamedTuple):
    """What the evil node says, in a file of its own, and the file that shows that a shell has run it."""

    said: str
    path: Path
    made: Path

    def sets(self) -> str:
        """The steps that set values to what the evil node says."""
        return SETS.replace("{path}", str(self.path))


@pytest.fixture
def trap(trio: Fleet, request: pytest.FixtureRequest) -> Iterator[Trap]:
    """One of `PAYLOADS`."""
    made = trio.folder / "made"
    found = Trap(getattr(request, "param", PAYLOADS[0]).format(made), trio.folder / "said", made)
    found.path.write_text(found.said)
    yield found
    made.unlink(missing_ok=True)


def run(fleet: Fleet, text: str, *more: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """Run a file, and give the tasks of node-2 in order."""
    file = fleet.folder / "attack.director"
    file.write_text(text + "\n")
    job = fleet.run_json("--orchestrate", str(file), "--no-cache", "--wait", *more, exit_code=exit_code)
    return [task for task in tasks_of(job) if task["node"] == "node-2"]


@pytest.mark.parametrize("trap", PAYLOADS, indirect=True)
def test_no_value_of_another_node_is_run(trio: Fleet, trap: Trap) -> None:
    attacked = [step.replace(" ", " --ignore-errors ", 1) for step in ATTACKED]
    found = run(trio, trap.sets() + "\n".join((*attacked, *SAFE)))[-len(ATTACKED) - len(SAFE) :]
    went_on = [step for step, task in zip(ATTACKED, found, strict=False) if "other nodes" not in task["reason"]]
    assert (went_on, trap.made.exists()) == ([], False)
    assert [task["stdout"] for task in found[len(ATTACKED) :]] == [trap.said] * len(SAFE)


def test_a_later_job_and_a_resumed_one_know_where_a_value_comes_from(trio: Fleet, trap: Trap) -> None:
    for name in ("BY_ARG", "BY_OUTPUT"):
        found = run(trio, trap.sets() + f"RUN test -e {trap.path}.ready\nRUN echo {{{{ {name} }}}}", exit_code=1)
        assert found[-2]["state"] == "failed"
        (trio.folder / "said.ready").touch()
        resumed = trio.run_json("--resume", "last", "--wait", exit_code=1)
        assert "other nodes" in next(task for task in tasks_of(resumed) if task["state"] == "failed")["reason"]
        (trio.folder / "said.ready").unlink()
    trio.stop("node-2")  # the ARG is remembered by the next client too
    trio.restart("node-2")
    trio.wait_online(["node-2"])
    for text in ("RUN echo {{ BY_ARG }}", "ARG BY_ARG\nRUN echo {{ BY_ARG }}"):
        assert "other nodes" in run(trio, f"FROM node-2\n{text}", exit_code=1)[-1]["reason"]
    assert run(trio, 'FROM node-2\nARG BY_ARG="$(echo own)"\nRUN echo {{ BY_ARG }}')[-1]["stdout"] == "own\n"
    assert not trap.made.exists()


def test_a_client_that_died_knows_where_a_value_comes_from(trio: Fleet, trap: Trap) -> None:
    ready, begun = trio.folder / "ready", trio.folder / "begun"
    waits = f"RUN --retry 3 touch {begun}; while ! test -e {ready}; do sleep 0.1; done\n"
    file = trio.folder / "attack.director"
    file.write_text(trap.sets() + waits + "RUN echo {{ BY_ARG }}\n")
    job = trio.submit("--orchestrate", str(file), "--no-cache")
    wait_until(begun.exists, "the step that waits has begun")
    trio.kill("node-2")
    ready.touch()
    trio.restart("node-2")
    last = [task for task in tasks_of(trio.wait_job(job)) if task["node"] == "node-2"][-1]
    assert "other nodes" in last["reason"]
    assert not trap.made.exists()


def test_plan_says_what_would_fail_and_what_is_run_as_code(trio: Fleet, trap: Trap) -> None:
    run(trio, trap.sets())
    text = f"FROM node-1 or node-2\nQUERY EVIL\nRUN echo {{{{ {SAID} }}}}\nRUN echo {{{{ {SAID} | shell_code }}}}"
    file = trio.folder / "attack.director"
    file.write_text(text)
    plan = trio.run_json("--plan", str(file))
    reasons = [node["reason"] for node in plan["steps"][1]["nodes"]]
    assert all("would fail" in reason and "other nodes" in reason for reason in reasons)
    assert [warning for warning in plan["warnings"] if "shell_code" in warning and ":4: " in warning]
    assert "as code" not in plan["steps"][2]["nodes"][0]["reason"]
    assert not trap.made.exists()
    plan = trio.run_json("--plan", "--exec", text.partition("\n")[2], "--target", "node-1", "--target", "node-2")
    assert "other nodes" in plan["steps"][1]["nodes"][0]["reason"]


def test_quote_inside_of_quotes_is_refused(trio: Fleet) -> None:
    done = trio.director("--exec", f'QUERY EVIL\nRUN echo "{{{{ {SAID} | quote }}}}"', "--target", "node-2")
    assert done.returncode == 2
    assert done.stderr.startswith("director: exec:2: quote does not protect in double quotes")
    assert "outside of quotes" in done.stderr and 'write "$X"' in done.stderr
