"""`--exec 'VERB --help'`: the verb's manual, without a server."""

from __future__ import annotations

from director.errors import LanguageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def manuals(text: str) -> list[str]:
    """The manuals that a text asks for, in its order; none when it asks for none or cannot be read."""
    from director.language.read import read
    from director.verbs import flag_table, manual

    try:
        document = read(text, "exec", "containerfile", flag_table())
    except LanguageError:
        return []  # the server says what is wrong with it
    asked: Iterable[str] = (
        instruction.verb
        for stage in document.stages
        for instruction in stage.instructions
        if instruction.flags.get("help")
    )
    return [manual(verb) for verb in dict.fromkeys(asked)]
