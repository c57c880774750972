"""Texts that are wrong: each message has its place, what is wrong and what was expected."""

from __future__ import annotations

from itertools import pairwise

import pytest
from language.tables import document

from director.errors import LanguageError

LINES = [
    ("", "exec:1: there is no instruction; expected"),
    ("# only a comment\n\n", "exec:1: there is no instruction; expected"),
    ("RUN", "exec:1: RUN has no argument; expected a command"),
    ("RUN a\n\nRUN --user=x", "exec:3: RUN has no argument; expected a command"),
    ("RUN []", "exec:1: RUN has no argument"),
    ("COPY", "exec:1: COPY has no argument; expected sources and a destination"),
    ("ENV", "exec:1: ENV has no argument; expected KEY=VALUE"),
    ("FROM", "exec:1: FROM has no argument; expected target nodes"),
    ("FROM a AS", "exec:1: AS has no targets or no name in FROM; expected FROM TARGETS AS NAME"),
    ("FROM AS x", "exec:1: AS has no targets or no name in FROM"),
    ("FROM a AS all", "exec:1: the stage's name 'all' is a reserved word"),
    ("FROM a AS x/y", "exec:1: the stage's name 'x/y' has '/' in it"),
    ("FROM --platfrom=x a", "exec:1: FROM has no flag --platfrom; did you mean --platform?"),
    ("RUN a\nFROM b", "exec:1: RUN is before the first FROM, where only ARG may"),
    ("RNU a", "exec:1: unknown instruction 'RNU'; did you mean RUN?"),
    ("RUN a\n\nHALTHCHECK b", "exec:3: unknown instruction 'HALTHCHECK'; did you mean HEALTHCHECK?"),
    ("uptime", "exec:1: unknown instruction 'uptime'"),
    ("CMD a", "exec:1: CMD has no meaning here: nodes have no start command; use RUN"),
    ("ENTRYPOINT a", "exec:1: ENTRYPOINT has no meaning here"),
    ("VOLUME a", "exec:1: VOLUME has no meaning here"),
    ("STOPSIGNAL 9", "exec:1: STOPSIGNAL has no meaning here"),
    ("MAINTAINER me", "exec:1: MAINTAINER has no meaning here; use LABEL maintainer=NAME"),
    ("ONBUILD RUN a", "exec:1: ONBUILD has no meaning here"),
    ("# escape=x\nRUN a", "exec:1: # escape=x is not allowed; expected \\ or `"),
    ("# escape=`\n# escape=\\\nRUN a", "exec:2: # escape= is given twice; expected it once"),
    ("# syntax=a\n# syntax=a\nRUN a", "exec:2: # syntax= is given twice"),
    ("RUN <<EOF\na", "exec:1: the heredoc <<EOF is not closed; expected a line EOF of its own"),
    ("RUN a\nCOPY <<a <<b /x/\n1\na\n2\n", "exec:2: the heredoc <<b is not closed"),
    ('RUN ["a", 1]', "exec:1: a JSON list here may have only strings"),
    ('COPY ["a", ["b"]]', "exec:1: a JSON list here may have only strings"),
    ('HEALTHCHECK CMD ["a", null]', "exec:1: a JSON list here may have only strings"),
    ("RUN --tiemout=3 a", "exec:1: RUN has no flag --tiemout; did you mean --timeout?"),
    ("RUN --timeout=soon a", "exec:1: --timeout cannot be 'soon'; expected seconds, or numbers with"),
    ("RUN --timeout", "exec:1: RUN --timeout needs a value; expected --timeout=seconds"),
    ("RUN --user= --user=b a", "exec:1: --user is given twice; expected it once"),
    ("RUN --skip-cache --skip-cache a", "exec:1: --skip-cache is given twice"),
    ("RUN --skip-cache=maybe a", "exec:1: --skip-cache cannot be 'maybe'; expected true or false"),
    ("RUN --ok-codes=0,x a", "exec:1: --ok-codes cannot be '0,x'; expected whole numbers joined by commas"),
    ("RUN --retry=1.5 a", "exec:1: --retry cannot be '1.5'; expected a whole number"),
    ("RUN --retry=1 --retries=2 a", "exec:1: --retry is given twice"),
    ("RUN a\nRUN b \0", "exec:2: there is a NUL character; expected text"),
    ("RUN a\nRUN \udc80", "exec:2: the text is not UTF-8"),
]

YAML = [
    ("", "f.yaml:1: there is no instruction; expected a list of entries with jobs"),
    ("[]", "f.yaml:1: there is no instruction"),
    ("RUN: a", "f.yaml:1: there is a mapping at the top; expected a list: put '- ' before its first key"),
    ("hello", "f.yaml:1: there is a text at the top; expected a list"),
    ("- a", "f.yaml:1: an entry is not a mapping; expected targets and jobs in it"),
    ("- targets: a", "f.yaml:1: an entry has no jobs; expected jobs: with a list of steps"),
    ("- jobs: []", "f.yaml:1: an entry has no jobs"),
    ("- jobs: RUN a", "f.yaml:1: an entry has no jobs"),
    ("- jobs:\n  - RUN: a\n  tragets: b", "f.yaml:3: an entry has no key 'tragets'; did you mean targets?"),
    ("- jobs: [RUN: a]\n  name: all", "f.yaml:2: the entry's name 'all' is a reserved word; expected another one"),
    ("- RUN: a", "f.yaml:1: an entry has no key 'RUN'; steps belong under jobs: as '- RUN: …'"),
    ("- jobs:\n  - a", "f.yaml:2: a step is not a mapping; expected VERB: text, such as RUN: uptime"),
    (
        "- jobs:\n  - RUN: a\n    COPY: b c",
        "f.yaml:2: there is RUN and COPY in one step; expected one VERB: text in each",
    ),
    ("- jobs:\n  - RUN: a\n  - name: b", "f.yaml:3: there is no verb in a step; expected one VERB"),
    ("- jobs:\n  - RUN: a\n    nmae: b", "f.yaml:2: a step has no key 'nmae'; did you mean name?"),
    ("- jobs:\n  - RNU: a", "f.yaml:2: unknown instruction 'RNU'; did you mean RUN?"),
    ("- jobs:\n  - RUN:", "f.yaml:2: RUN has no argument; expected a command"),
    ("- jobs:\n  - RUN: a\n    RUN: b", "f.yaml:2: a step has the key 'RUN' twice; expected it once"),
    ("- jobs:\n  - RUN: a\n    vars: {tiemout: 1}", "f.yaml:2: vars of RUN has no 'tiemout'; did you mean timeout?"),
    ("- jobs:\n  - RUN: a\n    vars: {timeout: x}", "f.yaml:2: --timeout cannot be 'x'; expected seconds"),
    ("- jobs:\n  - RUN: a\n    vars: {timeout: }", "f.yaml:2: timeout in vars of RUN has no value"),
    ("- jobs:\n  - RUN: a\n    vars: [timeout]", "f.yaml:2: vars of RUN is not a mapping; expected flags by name"),
    ("- jobs:\n  - RUN: --timeout=1 a\n    vars: {timeout: 2}", "f.yaml:2: --timeout is given twice"),
    ("- jobs:\n  - RUN: --tiemout=1 a", "f.yaml:2: RUN has no flag --tiemout; did you mean --timeout?"),
    (
        "- jobs:\n  - ARG:\n      M: {[1]: x}",
        "f.yaml:3: in the mapping of ARG a key is a list or a mapping; expected a text",
    ),
    ("- jobs:\n  - RUN: {a: b}", "f.yaml:2: the value of RUN is a mapping; expected a text or a list of words"),
    ("- jobs:\n  - RUN: [a, [b]]", "f.yaml:2: the list of RUN has an item that is not a text"),
    ("- jobs:\n  - RUN: {{ a }}", "f.yaml:2: a value that begins with {{ must be quoted: RUN: '{{ … }}'"),
    ("- jobs:\n  - RUN: {{ a }} b", "f.yaml:2: a value that begins with {{ or {% must be quoted"),
    ("- jobs:\n  - RUN: {% if a %}b", "f.yaml:2: a value that begins with {{ or {% must be quoted"),
    ("- jobs: [RUN: a]\n  <<: b", "f.yaml:1: an entry has a << that is not a mapping; expected an alias of one"),
    ("- jobs:\n  - ENV: {A: {{ a }}}", "f.yaml:2: in the mapping of ENV a key is a list or a mapping"),
    ("- targets: [{{ a }}]\n  jobs: [RUN: b]", "f.yaml:1: targets has an item that is not a text; a value that"),
    ("- jobs: [RUN: a]\n  async: maybe", "f.yaml:2: async is neither true nor false; expected one of them"),
    ("- jobs:\n  - FROM: a", "f.yaml:2: FROM has no meaning in YAML; use targets: of the entry"),
    ("- jobs:\n  - POD: a", "f.yaml:2: POD is no verb of Director; use RUN podman …"),
    ("- jobs:\n  - CONTAINER_IMAGE: a", "f.yaml:2: CONTAINER_IMAGE is no verb of Director; use RUN podman …"),
    ("- jobs:\n  - SECONTEXT: a", "f.yaml:2: SECONTEXT is no verb of Director; use RUN semanage …"),
    ("- jobs:\n  - FACTER:", "f.yaml:2: FACTER is no verb of Director; use {{ facts }}"),
    ("- jobs:\n  - JOB_WAIT: a", "f.yaml:2: JOB_WAIT is not needed: steps run in order"),
    ("- jobs:\n  - QUERY_WAIT: a", "f.yaml:2: QUERY_WAIT is not needed: steps run in order"),
    ("- jobs:\n  - QUEUESENTINEL: a", "f.yaml:2: QUEUESENTINEL is no verb of Director; use director --cancel-job"),
    ("- jobs:\n  - RUN: !!python/object:os.system a", "f.yaml:2: the tag !!python/object:os.system has no meaning"),
    ("- jobs:\n  - RUN: *x", "f.yaml:2: *x has no anchor; expected &x before it"),
    ("- &x [*x]", "f.yaml:1: *x is used inside of &x; expected it behind"),
    ("- jobs:\n  - RUN: a\n---\n- b", "f.yaml:3: there is a second document"),
    ("- jobs:\n\t- RUN: a", "f.yaml:2: this is not YAML"),
    ("- jobs:\n  - RUN: 'a", "f.yaml:"),
    ("- jobs:\n  - RUN: \x07", "f.yaml:2: this is not YAML"),
    ("- " * 80 + "a", "f.yaml:1: lists and mappings are nested more than 64 deep"),
]


@pytest.mark.parametrize(("text", "message"), LINES)
def test_lines(text: str, message: str) -> None:
    with pytest.raises(LanguageError) as raised:
        document(text, "exec", "containerfile")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("text", "message"), YAML)
def test_yaml(text: str, message: str) -> None:
    with pytest.raises(LanguageError) as raised:
        document(text, "f.yaml")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_many_aliases_are_refused() -> None:
    bomb = "- &a [x, x, x, x, x, x, x, x, x]\n"
    names = "abcdefghi"
    for before, name in pairwise(names):
        bomb += f"- &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    with pytest.raises(LanguageError, match="aliases stand for more than 2000000 values"):
        document(bomb, "f.yaml")


def test_a_text_that_is_too_large_is_refused() -> None:
    with pytest.raises(LanguageError, match="exec:1: the text has 4194308 bytes; expected at most 4194304"):
        document("RUN " + "a" * (4 << 20), "exec")
