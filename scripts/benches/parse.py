"""How long reading a long Directorfile takes, against the official parser on the same text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benches.bench import Bench
from benches.row import Row, paired

BLOCK = """\
# a comment
RUN --network=host echo hello "$HOME" && \\
    ls -l /tmp
ENV A=1 B="two words" C=three\\ words
COPY --chown=app:app --chmod=0644 conf/app.conf conf/*.d /etc/app/
ARG VERSION=1.4
WORKDIR /srv/app
RUN ["sh", "-c", "uptime"]
RUN <<EOF
echo {number}
EOF
"""


def run(bench: Bench) -> Iterator[Row]:
    """Measure both parsers on the same text."""
    import dockerfile

    from director import verbs
    from director.language.reader import read

    lines = bench.pick(10_000, 10_000, 1_000)
    count = -(-lines // BLOCK.count("\n"))
    text = "".join(BLOCK.replace("{number}", str(number)) for number in range(count))
    table = verbs.every()
    ours, theirs = [], []
    for _ in range(bench.runs):
        theirs.append(_timed(lambda: dockerfile.parse_string(text)))
        ours.append(_timed(lambda: read(text, "exec", "containerfile", table)))
    yield paired("parse", f"reading {text.count(chr(10))} lines", "s", "BuildKit's parser", ours, theirs, bar=10.0)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
