"""`--exec 'VERB --help'`: the verb's manual, without a server."""

from __future__ import annotations

from director.errors import LanguageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def unknown_verb(text: str) -> str:
    """The verb of `VERB --help`, in upper case, when it is none of Director's; "" otherwise."""
    from director.verbs import ALIASES, VERBS

    words = text.split()
    verb = words[0].upper() if len(words) == 2 and words[1] == "--help" else ""
    return "" if verb in VERBS or verb in ALIASES else verb


def manuals(text: str) -> list[str]:
    """The manual of each verb that has `--help` in the text; none when the text cannot be read."""
    from director.language.reader import read
    from director.verbs import every, manual

    try:
        document = read(text, "exec", "containerfile", every())
    except LanguageError:
        return []  # the server reports the error
    asked: Iterable[str] = (
        instruction.verb
        for stage in document.stages
        for instruction in stage.instructions
        if instruction.flags.get("help")
    )
    return [manual(verb) for verb in dict.fromkeys(asked)]
