"""Which nodes an expression of `--target` and FROM means: read, then settled against a view of the roster."""

from director.targets.explain import explain, why_not
from director.targets.expressions import Expr, TargetSyntaxError
from director.targets.images import looks_like_image
from director.targets.parser import parse
from director.targets.resolve import Settled, settle
from director.targets.roster_view import RosterView

__all__ = [
    "Expr",
    "RosterView",
    "Settled",
    "TargetSyntaxError",
    "explain",
    "looks_like_image",
    "parse",
    "settle",
    "why_not",
]
