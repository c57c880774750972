"""What an answer is shown on: the columns of a terminal and whether it has colours, or none of it for a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from director.report.text import clipped, pad, width

GAP = "  "
LEAST = 6  # columns that a shortened cell keeps
_STYLES = {
    **dict.fromkeys(("success", "online"), "32"),
    "cached": "36",
    **dict.fromkeys(("failed", "timeout", "lost", "revoked"), "31"),
    **dict.fromkeys(("cancelled", "expired", "skipped", "incomplete", "offline", "pending"), "33"),
    **dict.fromkeys(("running", "sent", "queued"), "34"),
    **dict.fromkeys(("+", "ok"), "32"),
    "-": "31",
    "dim": "2",
    "bold": "1",
}
_NODES = ("36", "33", "35", "32", "34", "96", "93", "95", "92", "94")


class Screen:
    """A terminal, or with a width of 0 a pipe or file, where nothing is shortened.

    Attributes:
        width, height: columns and lines; 0 for a pipe.
        colour: whether states and names have colours.
        now: epoch seconds for relative times; 0.0 for absolute ones.
    """

    def __init__(self, width: int = 0, height: int = 0, colour: bool = False, now: float = 0.0) -> None:
        self.width, self.height, self.colour, self.now = width, height, colour, now

    def paint(self, text: str, style: str) -> str:
        """The text in the colour of a state, or of another style; plain where there is none."""
        code = _STYLES.get(style, "") if self.colour else ""
        return f"\x1b[{code}m{text}\x1b[0m" if code and text else text

    def paint_node(self, text: str, name: str) -> str:
        """The text in a colour that is the same for one node each time."""
        if not self.colour:
            return text
        return f"\x1b[{_NODES[sum(name.encode('utf-8', 'replace')) % len(_NODES)]}m{text}\x1b[0m"

    def clip(self, text: str, taken: int = 0) -> str:
        """The text as one line, shortened to what is left beside so many columns."""
        return clipped(text, max(LEAST, self.width - taken)) if self.width else text

    def fit(self, widths: Sequence[int], fixed: Sequence[bool], indent: int) -> list[int]:
        """Widths of columns that fit the terminal: the widest of those that are not fixed is shortened first."""
        found = list(widths)
        if not self.width:
            return found
        over = sum(found) + len(GAP) * (len(found) - 1) + indent - self.width
        while over > 0:
            loose = [index for index, is_fixed in enumerate(fixed) if not is_fixed and found[index] > LEAST]
            if not loose:
                break
            order = sorted((found[index] for index in loose), reverse=True)
            widest = next(index for index in loose if found[index] == order[0])
            below = order[1] if len(order) > 1 else LEAST
            less = max(1, min(over, found[widest] - max(below, LEAST)))
            found[widest] -= less
            over -= less
        return found

    def shown(self, text: str, columns: int, last: bool, style: str) -> str:
        """One cell in its column: shortened or padded, then coloured."""
        if self.width and width(text) > columns:
            text = clipped(text, columns)
        padded = text if last else pad(text, columns)
        return self.paint(text, style) + padded[len(text) :] if style else padded


PLAIN = Screen()
