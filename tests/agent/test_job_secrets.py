"""What leaves a step: values that are secret stay in memory, and are masked everywhere else."""

from __future__ import annotations

from typing import Any

import pytest

from director import states as st
from director.agent.job_secrets import JobSecrets
from director.errors import VerbError
from director.language.scope import Scope
from director.verbs.base import Outcome

STEP: dict[str, Any] = {"i": 3, "verb": "RUN", "flags": {}}


def made(secrets: JobSecrets, scope: Scope, outcome: Outcome, **flags: str) -> Outcome:
    """The outcome as it leaves the step, its values applied to the scope."""
    secrets.withhold(outcome, {**STEP, "flags": flags}, scope)
    scope.apply(outcome.effects)
    scope.hide(outcome.private)
    return outcome


def test_a_step_gets_the_secrets_that_it_was_given() -> None:
    secrets = JobSecrets()
    secrets.give({"db": (b"s3cr3t", [[1, 2], [5, 5]])})
    assert secrets.value("db", 2) == secrets.value("db", 5) == b"s3cr3t"
    for name, step in (("db", 3), ("other", 1)):
        with pytest.raises(VerbError, match="not given to this step"):
            secrets.value(name, step)


def test_outputs_and_the_reason_are_masked() -> None:
    secrets, scope = JobSecrets(), Scope()
    secrets.give({"db": (b"s3cr3t\n", [[1, 1]])})
    outcome = made(secrets, scope, Outcome(st.FAILED, 1, b"a s3cr3t b", b"s3cr3t", "exit code 1: s3cr3t"))
    assert (outcome.stdout, outcome.stderr, outcome.reason) == (b"a *** b", b"***", "exit code 1: ***")
    assert secrets.hide("s3cr3t!") == "***!" and secrets.is_in("xs3cr3tx") and not secrets.is_in("s3cr3")


def test_values_made_of_a_secret_stay_in_memory_and_later_steps_have_them() -> None:
    secrets, scope = JobSecrets(), Scope()
    secrets.give({"db": (b"s3cr3t", [[1, 1]])})
    outcome = made(secrets, scope, Outcome(effects={"env": {"URL": "x:s3cr3t@h", "MODE": "a"}, "quoted": ["URL"]}))
    assert outcome.effects == {"env": {"MODE": "a"}, "withheld": ["URL"]}
    assert scope.dollars() == {"MODE": "a", "URL": "x:s3cr3t@h"} and scope.texts()["URL"] == "x:s3cr3t@h"
    assert not scope.withheld and "URL" in scope.secret
    assert secrets.hide("it is x:s3cr3t@h") == "it is ***"


def test_the_output_of_a_step_that_makes_a_secret_is_masked_as_a_whole() -> None:
    secrets, scope = JobSecrets(), Scope()
    scope.apply({"declare": ["TOKEN"], "secret": ["TOKEN"]})
    effects = {"arg": {"TOKEN": "tok-1"}, "declare": ["TOKEN"], "output": ["TOKEN"]}
    outcome = made(secrets, scope, Outcome(stdout=b"  tok-1\n", effects=effects), **{"stdout-arg": "TOKEN"})
    assert outcome.stdout == b"***" and outcome.private == {"TOKEN": "tok-1"} and "tok-1" not in str(outcome.effects)
    assert scope.dollars() == {"TOKEN": "tok-1"}
    replayed = Scope()
    for kept in ({"declare": ["TOKEN"], "secret": ["TOKEN"]}, outcome.effects):
        replayed.apply(kept)
    assert replayed.withheld == {"TOKEN"} and not replayed.dollars(), "after a start of the client the value is gone"


def test_a_value_that_cannot_be_masked_fails_the_step() -> None:
    secrets, scope = JobSecrets(), Scope(secret={"PIN"})
    outcome = made(secrets, scope, Outcome(stdout=b"12", effects={"arg": {"PIN": "12"}}), **{"stdout-arg": "PIN"})
    assert outcome.state == st.FAILED and "shorter than 4 bytes" in outcome.reason and outcome.stdout == b"***"
    assert outcome.effects == {"withheld": ["PIN"]} and not outcome.private and scope.withheld == {"PIN"}
    assert made(secrets, scope, outcome).effects == {"withheld": ["PIN"]}, "a second time changes nothing"


def test_nothing_else_keeps_a_secret() -> None:
    secrets, scope = JobSecrets(), Scope()
    secrets.give({"db": (b"s3cr3t", [[1, 1]])})
    outcome = made(secrets, scope, Outcome(effects={"workdir": "/srv/s3cr3t"}))
    assert outcome.state == st.FAILED and not outcome.effects and "only ARG and ENV" in outcome.reason
