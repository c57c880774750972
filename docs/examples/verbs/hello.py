"""HELLO: a verb to copy and change; put the file into the server's folder of own verbs."""

from __future__ import annotations

from director.errors import VerbError
from director.verbs.arguments import whole
from director.verbs.base import Flag, Verb, success


class Hello(Verb):
    """HELLO TEXT: greet somebody in the node's name.

    The first paragraphs of this docstring are the verb's manual: `director --exec 'HELLO --help'` prints them.

        HELLO --loud world
    """

    name = "HELLO"
    flags = (
        Flag("loud", "bool", "in capitals", default=False),
        Flag("times", "int", "how often", metavar="N"),
    )
    pure = True  # apply() changes nothing, so --plan may call it
    trusts_chain = True  # the same text gives the same greeting: a step that is what ran last is not run again

    def parse(self, instruction, planning):
        """On the server: check what was written, and give what travels to the nodes, as plain JSON."""
        if planning.flags.get("times", 1) < 1:
            raise planning.fail("HELLO --times is less than 1; expected a whole number from 1 on")
        return whole(instruction, planning)  # {"text": the argument as written}

    def apply(self, body, flags, node):
        """On the node: do it, and say what came of it. A VerbError is a failure with a reason."""
        text = node.word(body["text"])  # templates and $NAME are filled in now
        if not text:
            raise VerbError("HELLO came out empty; expected somebody to greet")
        greeting = f"hello {text} from {node.name}"
        if flags.get("loud"):
            greeting = greeting.upper()
        return success("\n".join([greeting] * flags.get("times", 1)))
