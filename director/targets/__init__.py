"""Which nodes a target expression of `--target` or FROM names."""

from director.targets.explain import explain
from director.targets.expressions import TargetSyntaxError
from director.targets.images import looks_like_image
from director.targets.parser import parse
from director.targets.resolve import Resolved, resolve
from director.targets.roster_view import RosterView

__all__ = ["Resolved", "RosterView", "TargetSyntaxError", "explain", "looks_like_image", "parse", "resolve"]
