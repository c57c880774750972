"""`--secret`: reads the values with the user's rights, and seals them for the nodes that the server has settled."""

from __future__ import annotations

import os
import stat

from director import Any
from director.errors import UsageError
from director.protocol import sealing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EXPECTED = "expected id=NAME,src=FILE or id=NAME,env=VARIABLE"


def read(texts: Iterable[str]) -> dict[str, bytes]:
    """The values by name.

    Args:
        texts: of `--secret`.

    Raises:
        UsageError: one is malformed, cannot be read, is too long or too short, or is given twice.
    """
    found: dict[str, bytes] = {}
    for text in texts:
        fields = _fields(text)
        name = fields["id"]
        if not sealing.NAME.fullmatch(name):
            raise UsageError(f"--secret id={name}: expected a letter, then letters, digits, _ . or -; at most 63")
        if name in found:
            raise UsageError(f"--secret id={name} is given twice")
        found[name] = _value(name, fields)
    return found


def _fields(text: str) -> dict[str, str]:
    words = [word.partition("=") for word in text.split(",")]
    fields = {key: value for key, equals, value in words if equals and value}
    kinds = {"src", "source", "env"} & fields.keys()
    if len(fields) != len(words) or "id" not in fields or len(kinds) != 1 or len(words) != 2:
        raise UsageError(f"--secret: {_shown(text)}; {EXPECTED}")
    return fields


def _shown(text: str) -> str:
    """What is wrong, without what may be the secret itself."""
    return "it has no id" if "id=" not in text else f"id={text.partition('id=')[2].partition(',')[0]} and then"


def _value(name: str, fields: Mapping[str, str]) -> bytes:
    if "env" in fields:
        value = os.environb.get(fields["env"].encode())
        if value is None:
            raise UsageError(f"--secret id={name}: there is no variable {fields['env']}")
    else:
        path = os.path.expanduser(fields.get("src") or fields["source"])
        try:
            with open(path, "rb") as file:
                if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                    raise UsageError(f"--secret id={name}: {path} is a folder")
                value = file.read(sealing.SIZE_LIMIT + 1)
        except OSError as error:
            raise UsageError(f"--secret id={name}: {path}: {error.strerror}") from error
    if len(value) > sealing.SIZE_LIMIT:
        raise UsageError(f"--secret id={name}: larger than {sealing.SIZE_LIMIT >> 10} KiB")
    if len(value.strip()) < sealing.SIZE_LEAST:
        raise UsageError(f"--secret id={name}: less than {sealing.SIZE_LEAST} bytes, which outputs cannot hide")
    return value


class Sealer:
    """Answers the server's questions of one submission: encrypts each secret once a job, seals its key for nodes."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = values
        self._keys: dict[tuple[str, str], bytes] = {}  # by job and name

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The frame for the question of a frame `seal`. Raises UsageError: it names a secret that was not given."""
        job, steps = str(question["job"]), question["secrets"]
        if why := sealing.missing(steps, self._values):
            raise UsageError(why)
        secrets = {}
        for name in steps:
            if (job, name) not in self._keys:
                self._keys[job, name], cipher = sealing.encrypt(self._values[name])
                secrets[name] = sealing.to_text(cipher)
        text = sealing.content(job, {name: (self._keys[job, name], ranges) for name, ranges in steps.items()})
        if len(text) > sealing.BOX_LIMIT:
            raise UsageError("too many steps use secrets for one message to a node; expected fewer")
        boxes = [sealing.to_text(sealing.seal(sealing.from_text(key), text)) for key in question["keys"]]
        return {"boxes": boxes, "secrets": secrets}
