"""Recognizes container images, which FROM takes in a Containerfile but not here."""

from __future__ import annotations

import re

_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_WORDS = re.compile(r"[^\s,()]+")
_OURS = ("~", "label:", "fact:")
_IMAGE = re.compile(r"scratch|[A-Za-z0-9][\w.-]*(?:/|:|@[A-Za-z0-9])\S*")


def looks_like_image(text: str) -> bool:
    """Whether a word of a FROM reads as a container image: `scratch`, `debian:12`, `a/b`, `x@sha256:…`."""
    words = _WORDS.findall(_QUOTED.sub("x", text))
    return any(_IMAGE.fullmatch(word) for word in words if not word.startswith(_OURS))
