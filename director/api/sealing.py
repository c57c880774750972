"""Has the caller seal the secrets of a planned job for its nodes, before the job is accepted.

The caller gets the nodes that were settled, with their keys, in batches; for each node it answers with a box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from director.api.requests import Caller
from director.errors import UsageError
from director.node_sets import fold
from director.protocol import keys
from director.protocol.framing import BODY_LIMIT
from director.protocol.messages import SECRETS_LIMIT
from director.protocol.sealing import BATCH, BOX_LIMIT, NAME, SIZE_LIMIT, from_text, missing, to_text
from director.runtime.greenlets import breathe
from director.scheduler.secret_steps import Needs, needs_of
from director.server.roster import Roster
from director.server.sealed_secrets import Sealed

OVERHEAD = 48  # bytes that encryption and sealing add at most
Batch = tuple[Needs, list[str]]


def check_names(names: Sequence[str]) -> None:
    """Check the names of the secrets that a caller has. Raises UsageError."""
    if len(names) > SECRETS_LIMIT:
        raise UsageError(f"--secret: {len(names)} secrets; expected {SECRETS_LIMIT} at most")
    for name in names:
        if not NAME.fullmatch(name):
            raise UsageError(f"--secret id={name[:80]}: expected a letter, then letters, digits, _ . or -; at most 63")


def seal(
    job: str, meta: Mapping[str, Any], done: Mapping[str, str], given: Sequence[str], caller: Caller, roster: Roster
) -> Sealed | None:
    """The secrets of a planned job, sealed by the caller; None when its nodes need none.

    Args:
        done: as of `needs_of`.
        given: the names of the secrets that the caller has.

    Raises:
        UsageError: a secret is not given, a node has no key yet, or the caller's answer is malformed.
        DirectorError: the caller has left.
    """
    groups = list(needs_of(meta, done, breathe))
    if not groups:
        return None
    names = list(dict.fromkeys(name for needs, _ in groups for name in needs))
    if why := missing(names, given):
        raise UsageError(why)
    sealed = Sealed(
        keys={node: roster.nodes[node].sealing for _, nodes in groups for node in nodes if node in roster.nodes}
    )
    if without := [node for node, key in sealed.keys.items() if not key]:
        raise UsageError(
            f"{fold(without)} cannot get secrets, as they have not been connected since they were enrolled, or their "
            "version of director knows none; connect them first, or leave them out of the target"
        )
    for needs, nodes in _batches(groups):
        there = [node for node in nodes if node in sealed.keys]
        question = {"job": job, "secrets": needs, "keys": [to_text(keys.raw(sealed.keys[node])) for node in there]}
        _take(caller.sources.seal(question), sealed, needs, there)
    return sealed


def _batches(groups: Sequence[Batch]) -> Iterator[Batch]:
    for needs, nodes in groups:
        for start in range(0, len(nodes), BATCH):
            yield needs, nodes[start : start + BATCH]


def _take(answer: Mapping[str, Any], sealed: Sealed, needs: Needs, nodes: Sequence[str]) -> None:
    """The answer to one batch: `boxes`, and `secrets` that no earlier answer had. Raises UsageError."""
    try:
        boxes = [from_text(text) for text in answer["boxes"]]
        secrets = {name: from_text(text) for name, text in answer["secrets"].items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError("the secrets did not come as expected; use the same version of director for both") from error
    sealed.secrets.update({name: text for name, text in secrets.items() if name in needs})
    wrong = len(boxes) != len(nodes) or not needs.keys() <= sealed.secrets.keys()
    if wrong or any(len(box) > BOX_LIMIT + OVERHEAD for box in boxes):
        raise UsageError("the secrets did not come as expected; use the same version of director for both")
    if any(len(text) > SIZE_LIMIT + OVERHEAD for text in secrets.values()):
        raise UsageError(f"a secret has more than {SIZE_LIMIT >> 10} KiB")
    if sealed.size + sum(map(len, boxes)) > BODY_LIMIT:
        raise UsageError(f"the secrets come to more than {BODY_LIMIT >> 20} MiB for all nodes; submit them to fewer")
    sealed.boxes.update(zip(nodes, boxes, strict=True))
