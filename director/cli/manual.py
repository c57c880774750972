"""`--exec 'VERB --help'`: the verb's manual; the server knows those of the operator's own verbs only."""

from __future__ import annotations

from director.cli.server import ask
from director.config.settings import Settings
from director.errors import LanguageError
from director.language.reader import read
from director.verbs import ALIASES, VERBS, every, manual


def manuals(settings: Settings) -> list[str]:
    """The manual of each verb that has `--help` in the text; [] when there is none, or the text cannot be read.

    Raises:
        DirectorError: the verb is none of Director's, and the server does not know it or does not answer.
    """
    text = settings.text or ""
    try:
        document = read(text, "exec", "containerfile", every())
    except LanguageError:
        return _own_manual(settings, text.split())  # otherwise the server reports the error
    instructions = [instruction for stage in document.stages for instruction in stage.instructions]
    asked = dict.fromkeys(instruction.verb for instruction in instructions if instruction.flags.get("help"))
    return [manual(verb) for verb in asked] or _own_manual(settings, text.split())


def _own_manual(settings: Settings, words: list[str]) -> list[str]:
    verb = words[0].upper() if len(words) == 2 and words[1] == "--help" else ""
    if not verb or verb in VERBS or verb in ALIASES:
        return []
    return [ask(settings, {"do": "verb-help", "verb": verb})["text"]]
