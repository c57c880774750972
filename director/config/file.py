"""Reads a settings file: plain `key: value` lines by itself, anything richer through PyYAML."""

from __future__ import annotations

from director.errors import UsageError

_EMPTY = ("", "~", "null", "Null", "NULL")


def read(text: str, file: str) -> dict[str, str | list[str]]:
    """Keys and their values as written; keys without a value are left out.

    Raises:
        UsageError: not a mapping of texts and lists of texts, or a key twice; with file and line.
    """
    found: dict[str, str | list[str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        if line and not line.startswith("#"):
            key, colon, rest = line.partition(":")
            value = _plain(rest)
            if not colon or value is None or not key.replace("-", "").isalnum():
                return _read_yaml(text, file)
            _keep(found, key, value, file, number)
    return {key: value for key, value in found.items() if value not in _EMPTY}


def _plain(rest: str) -> str | None:
    """The value that YAML, too, reads in what follows the colon; None when it takes YAML to say."""
    text = rest.split(" #")[0].strip()
    if rest and not rest.startswith(" "):
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
        return None if "\\" in text or "'" in text or '"' in text or " #" in rest else text
    plain = not text or ((text[0].isalnum() or text[0] in "/_.~+") and not text.endswith(":"))
    return text if plain and ": " not in text and "\t" not in rest else None


def _keep(found: dict[str, str | list[str]], key: str, value: str | list[str], file: str, line: int) -> None:
    if key in found:
        raise UsageError(f"{file}:{line}: {key} is set twice; expected once")
    found[key] = value


def _read_yaml(text: str, file: str) -> dict[str, str | list[str]]:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{file}:{line}: {getattr(error, 'problem', None) or error}; expected YAML") from error
    except RecursionError as error:
        raise UsageError(f"{file}:1: nested too deeply; expected `setting: value` lines") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{file}:1: not a mapping; expected `setting: value` lines")
    found: dict[str, str | list[str]] = {}
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{file}:{line}: a key that is no word; expected the name of a setting")
        _keep(found, key.value, _text(value, key.value, file, line), file, line)
    return {key: value for key, value in found.items() if value not in _EMPTY}


def _text(node: object, key: str, file: str, line: int) -> str | list[str]:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [str(item.value) for item in node.value]
    if isinstance(node, yaml.MappingNode) and key == "arg":
        return _pairs(node.value, file, line)
    raise UsageError(f"{file}:{line}: the value of {key} is neither text nor a list of texts")


def _pairs(items: list[tuple[object, object]], file: str, line: int) -> list[str]:
    import yaml

    texts = [(name, value) for name, value in items]
    if not all(isinstance(node, yaml.ScalarNode) for pair in texts for node in pair):
        raise UsageError(f"{file}:{line}: arg takes NAME: text pairs")
    return [f"{name.value}={value.value}" for name, value in texts]  # type: ignore[attr-defined]
