"""What a node refuses by its settings."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest

from director import verbs
from director.agent.local_node import LocalNode
from director.agent.node_rules import NodeRules, rules_of
from director.config.settings import Settings
from director.errors import RefusedError, UsageError
from director.language.scope import Scope

BODIES: dict[str, dict[str, Any]] = {"WAIT": {"seconds": 1}, "HEALTHCHECK": {"url": "http://x"}}
READING = {"ARG", "CACHEFILE", "ECHO", "ENV", "EXPOSE", "FETCH", "HEALTHCHECK", "QUERY", "SHELL", "USER", "WAIT"}


def refusal(rules: NodeRules, verb: str, body: dict[str, Any] | None = None, own: bool = False) -> str:
    """Why the step is refused, "" when it is not."""
    step = {"verb": verb, "body": body or BODIES.get(verb, {}), "flags": {}, **({"own": ["", 0, ""]} if own else {})}
    try:
        rules.check_name(step)
        if not own:
            rules.check_step(verbs.load(verb), step)
    except RefusedError as error:
        return str(error)
    return ""


def rules(**settings: Any) -> NodeRules:
    return rules_of(Settings(**settings))


def test_without_settings_nothing_is_refused() -> None:
    assert [name for name in (*verbs.VERBS, *verbs.ALIASES) if refusal(rules(), name)] == []
    assert not refusal(rules(), "HELLO", own=True)


def test_read_only_permits_what_changes_nothing() -> None:
    strict = rules(read_only=True)
    assert {name for name in verbs.VERBS if not refusal(strict, name)} == READING
    assert refusal(strict, "RUN") == "this node runs nothing that may change it (--read-only), so not RUN"


@pytest.mark.parametrize("verb", ["WAIT", "HEALTHCHECK"])
@pytest.mark.parametrize("body", [{"cmd": "true"}, {"argv": ["true"]}, {"url": "http://x", "cmd": "true"}])
def test_read_only_runs_no_command_of_a_probe(verb: str, body: dict[str, Any]) -> None:
    assert "--read-only" in refusal(rules(read_only=True), verb, body)


@pytest.mark.parametrize("verb", ["WAIT", "HEALTHCHECK"])
@pytest.mark.parametrize("body", [{"cmd": "true"}, {"argv": ["true"]}])
@pytest.mark.parametrize("settings", [{"deny_verbs": ("run",)}, {"allow_verbs": ("WAIT", "HEALTHCHECK")}])
def test_a_node_that_does_not_run_run_runs_no_command_of_a_probe(
    verb: str, body: dict[str, Any], settings: dict[str, Any]
) -> None:
    assert f"does not run RUN, and no commands of {verb} (--" in refusal(rules(**settings), verb, body)
    assert not refusal(rules(**settings), verb)


def test_read_only_runs_no_file_of_the_operator() -> None:
    assert "--read-only" in refusal(rules(read_only=True), "HELLO", own=True)
    assert "--read-only" in refusal(rules(read_only=True), "ECHO", own=True), "an own verb by another's name"


@pytest.mark.parametrize(
    ("settings", "verb", "own", "named"),
    [
        ({"allow_verbs": ("RUN", "ECHO")}, "RUN", False, ""),
        ({"allow_verbs": ("run",)}, "RUN", False, ""),
        ({"allow_verbs": ("RUN",)}, "COPY", False, "--allow-verbs"),
        ({"allow_verbs": ("RUN",)}, "RUN", True, "--allow-verbs"),
        ({"allow_verbs": ("RUN",)}, "HELLO", True, "--allow-verbs"),
        ({"allow_verbs": ("own",)}, "HELLO", True, ""),
        ({"allow_verbs": ("own",)}, "RUN", False, "--allow-verbs"),
        ({"allow_verbs": ("DNF",)}, "APT", False, ""),
        ({"deny_verbs": ("APT",)}, "PACKAGE", False, "--deny-verbs"),
        ({"deny_verbs": ("PACKAGE",)}, "DNF", False, "--deny-verbs"),
        ({"deny_verbs": ("own",)}, "HELLO", True, "--deny-verbs"),
        ({"deny_verbs": ("own",)}, "ECHO", False, ""),
        ({"allow_verbs": ("RUN",), "deny_verbs": ("RUN",)}, "RUN", False, "--deny-verbs"),
        ({"allow_verbs": ("RUN",), "read_only": True}, "RUN", False, "--read-only"),
    ],
)
def test_names(settings: dict[str, Any], verb: str, own: bool, named: str) -> None:
    why = refusal(rules(**settings), verb, own=own)
    assert named in why and bool(why) == bool(named)
    assert not why or verb in why


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, False),
        ({"read_only": True}, False),
        ({"deny_verbs": ("FETCH",)}, True),
        ({"allow_verbs": ("RUN",)}, True),
        ({"allow_verbs": ("FETCH",)}, False),
    ],
)
def test_files_leave_the_node_only_where_fetch_may_run(settings: dict[str, Any], refused: bool) -> None:
    if refused:
        with pytest.raises(RefusedError, match="gives no files to others"):
            rules(**settings).check_giving()
    else:
        rules(**settings).check_giving()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"allow_verbs": ("RNU",)}, "--allow-verbs: there is no verb RNU; did you mean RUN?"),
        ({"deny_verbs": ("COPPY",)}, "--deny-verbs: there is no verb COPPY; did you mean COPY?"),
        ({"deny_verbs": ("ZZZZZZ",)}, "--deny-verbs: there is no verb ZZZZZZ; own names all verbs of the operator"),
        ({"no_root": "no-such-user"}, "--no-root: there is no user no-such-user on this machine"),
        ({"no_root": "root"}, "--no-root: root is root; expected another user"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        rules(**settings)
    assert str(raised.value) == message


def test_no_root_knows_one_user_only() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid != os.geteuid()).pw_name
    only = NodeRules(user=me)

    def check(flags: dict[str, Any], body: dict[str, Any]) -> None:
        step = {"verb": "RUN", "flags": flags, "body": body}
        node = LocalNode("a", {}, {}, {}, "job", Scope(), step, only.user)
        only.check_user(step, node)

    check({}, {})
    NodeRules().check_user({"verb": "X", "flags": {}, "body": {"user": 5}}, None)  # type: ignore[arg-type]
    only.check_user({"verb": "X", "own": ["", 0, ""], "flags": {}, "body": {"user": 5}}, None)  # type: ignore[arg-type]
    check({"user": me}, {})
    check({}, {"user": str(os.geteuid())})
    rendered = "{{ node.id and '" + other + "' }}"
    for flags, body in (({"user": other}, {}), ({}, {"user": other}), ({}, {"user": rendered})):
        with pytest.raises(RefusedError, match=rf"as {me} \(--no-root\), so nothing as {other}"):
            check(flags, body)
