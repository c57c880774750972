"""`--exec 'VERB --help'`: the verb's manual, without a server."""

from __future__ import annotations

from director.errors import LanguageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def asked_alone(text: str) -> str:
    """The verb that Director does not have itself and whose manual is asked for, in upper case, or ""."""
    from director.verbs import ALIASES, VERBS

    words = text.split()
    verb = words[0].upper() if len(words) == 2 and words[1] == "--help" else ""
    return "" if verb in VERBS or verb in ALIASES else verb


def manuals(text: str) -> list[str]:
    """The manuals that a text asks for, in its order; none when it asks for none or cannot be read."""
    from director.language.reader import read
    from director.verbs import every, manual

    try:
        document = read(text, "exec", "containerfile", every())
    except LanguageError:
        return []  # the server says what is wrong with it
    asked: Iterable[str] = (
        instruction.verb
        for stage in document.stages
        for instruction in stage.instructions
        if instruction.flags.get("help")
    )
    return [manual(verb) for verb in dict.fromkeys(asked)]
