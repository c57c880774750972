"""Which nodes a target expression of `--target` or FROM names."""

from director.targets.evaluate import RosterView
from director.targets.explain import explain, looks_like_image
from director.targets.expressions import TargetSyntaxError
from director.targets.parser import parse
from director.targets.resolve import Resolved, is_spelled_out, names_match, resolve, spelled_out
from director.targets.role_scope import EVERYTHING, RoleScope, Within

__all__ = [
    "EVERYTHING", "Resolved", "RoleScope", "RosterView", "TargetSyntaxError", "Within", "explain", "is_spelled_out",
    "looks_like_image", "names_match", "parse", "resolve", "spelled_out",
]  # fmt: skip
