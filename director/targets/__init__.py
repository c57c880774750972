"""Which nodes a target expression of `--target` or FROM names."""

from director.targets.evaluate import RosterView
from director.targets.explain import explain, looks_like_image
from director.targets.expressions import TargetSyntaxError
from director.targets.parser import parse
from director.targets.resolve import Resolved, names_match, resolve

__all__ = [
    "Resolved", "RosterView", "TargetSyntaxError", "explain", "looks_like_image", "names_match", "parse", "resolve",
]  # fmt: skip
