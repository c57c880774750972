"""The filter `quote`: where it is refused a shell would have run the value, and where it is accepted none does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from director.language import quoting, templating

SHELLS = [name for name in ("sh", "bash") if shutil.which(name)]
EVIL = (
    "$(touch made)",
    "; touch made; ",
    "`touch made`",
    "'; touch made; '",
    "`; touch made; `",
    "\ntouch made\n",
    "\nEOF\ntouch made\n#",
    "\\'\"; touch made; #",
)
ACCEPTED = [
    "echo X",
    "echo X X",
    "echo 'it'\"s\"\\'s X",
    'echo "$(echo X)"',
    "echo $(echo X) X",
    "(echo X); { echo X; }",
    "echo a#X b # it's a comment\necho X",
    'a=X; echo "$a"',
    "echo --name=X",
    "cat <<EOF >/dev/null\nit's\nEOF\necho X",
    "cat <<-'E F' >/dev/null; cat <<EOF >/dev/null\n\tit's\n\tE F\n\"\nEOF\necho X",
    'echo "$((1 + (2)))${HOME:-it\'s}" X',
    "case X in (a) echo it;; b) echo X;; esac",
    "echo 'a\nb' \\\n  X # X's\n".replace("# X's", "# it's"),
    "cat <<EOF X || true\nit's\nEOF",
    "{% if a %}echo 'a'{% elif b %}echo \"b\"{% else %}true{% endif %} X",
    "{% for i in [1, 2] %}echo '{{ i }}' X\n{% endfor %}",
    "{% set a %}echo X{% endset %}{% macro m() %}X{% endmacro %}echo X",
    "echo {% filter quote %}X{% endfilter %}".replace("X", "{{ x }}"),
    "echo {{ [x, x] | map('quote') | join(' ') }}",
    "echo {{ x | quote if x else 'nothing' }}",
]
REFUSED = {
    "in single quotes": "echo 'X'",
    "in double quotes": 'echo "X"',
    "in backquotes": "echo `echo X`",
    "in arithmetic": "echo $((X))",
    "in a comment": "true # X",
    "in a here-document": "cat <<EOF\nX\nEOF",
    "behind a backslash": "echo \\X",
    "behind a $": "echo $X",
}
ALSO_REFUSED = {
    'echo "a" \'b\' "$HOME X"': "in double quotes",
    "cat <<'EOF'\nX\nEOF": "in a here-document",
    "cat <<-EOF\n\ta\n\tX\n\tEOF": "in a here-document",
    "sh <<EOF\necho X\nEOF": "in a here-document",
    'echo "${HOME:-X}"': "in ${…}",
    "((a = X))": "in arithmetic",
    "cat <<{{ x }}\nX": "where it cannot be judged",
    '{% if a %}echo "{% else %}echo "{% endif %}X"': "in double quotes",
    '{% for i in [1, 2] %}echo X"{% endfor %}': "in double quotes",
    "{% for i in [1, 2] %}echo {% if i == 1 %}'{% endif %}X{% endfor %}'": "in single quotes",
    "{% set a %}'X'{% endset %}echo {{ a }}": "in single quotes",
    "echo '{% filter quote %}{{ x }}{% endfilter %}'": "in single quotes",
    "echo \"{{ [x, x] | map('quote') | join(' ') }}\"": "in double quotes",
    "echo \"{{ 'a' ~ (x | quote) }}\"": "in double quotes",
    "{% autoescape true %}echo X{% endautoescape %}": "autoescape",
}


def template(text: str) -> str:
    """With the expression in place of X."""
    return text.replace("X", "{{ x | quote }}")


def is_run(text: str, folder: Path) -> bool:
    """Whether one of the values, in any shell, is run as code."""
    for shell in SHELLS:
        for value in EVIL:
            rendered = "".join(templating.render(template(text), {"x": value, "a": True, "b": True}, {}))
            subprocess.run(
                [shell, "-c", rendered], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False
            )
    return (folder / "made").exists()


@pytest.mark.parametrize("text", ACCEPTED)
def test_where_it_is_accepted_no_value_is_run(text: str, tmp_path: Path) -> None:
    templating.check_shell(template(text))
    assert not is_run(text, tmp_path)


@pytest.mark.skipif("bash" not in SHELLS, reason="some of this is bash's alone")
@pytest.mark.parametrize("where", REFUSED)
def test_where_it_is_refused_a_value_would_be_run(where: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(where)):
        templating.check_shell(template(REFUSED[where]))
    assert is_run(REFUSED[where], tmp_path)


@pytest.mark.parametrize("text", ALSO_REFUSED)
def test_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        templating.check_shell(template(text))
    assert ALSO_REFUSED[text] in str(raised.value)


def test_many_ways_through_a_template_are_not_followed_for_ever() -> None:
    ways = "".join(f"{{% if a %}}<<E{number} {{% endif %}}" for number in range(40))
    with pytest.raises(ValueError, match="cannot be judged"):
        templating.check_shell(f"cat {ways}{{{{ x | quote }}}}")
    templating.check_shell(f"cat {{% for i in a %}}<<E {{% endfor %}}\n{'a' * 100_000}")


def test_what_is_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quoting, "MAX_READ", 1000)
    with pytest.raises(ValueError, match="too many ways"):
        templating.check_shell("{% for i in a %}" + "a" * 600 + "{% endfor %}{{ x | quote }}")


def test_the_message_has_the_line_and_both_ways_out() -> None:
    with pytest.raises(ValueError, match=r"line 2 .* outside of quotes, or set ENV .* write \"\$X\""):
        templating.check_shell("true\necho '{{ x | quote }}'")
