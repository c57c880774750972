"""What a verb is: one file that parses its argument on the server and applies it on a node.

Adding a verb takes three steps: a file beside this one with a subclass of `Verb`, a row in
`director/verbs/__init__.py`, and golden cases in `tests/verbs/`. The class docstring is the verb's manual:
`director --exec 'VERB --help'` prints it, and `docs/verbs.md` is made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from director.language.flag import Flag
from director.language.syntax import Syntax
from director.states import CACHED, FAILED, SUCCESS

if TYPE_CHECKING:
    from director.language.instructions import Instruction
    from director.language.scope import Scope


COMMON_FLAGS: tuple[Flag, ...] = (
    Flag("timeout", "duration", "end the task after this long (default: the job's --timeout)"),
    Flag("skip-cache", "bool", "run this step also when it is cached", default=False),
    Flag("run-once", "bool", "run on one node of the stage; the others wait for it", default=False),
    Flag("name", "str", "a name for the step, shown by --job-info"),
    Flag("ignore-errors", "bool", "a failure stops nothing and does not fail the job", default=False),
    Flag("raw", "bool", "leave braces as they are: no template", default=False),
    Flag("stdout-arg", "str", "keep the standard output as this ARG", metavar="NAME"),
    Flag("stderr-arg", "str", "keep the standard error as this ARG", metavar="NAME"),
    Flag("force-lock", "bool", "no effect: a node runs the steps of an entry one by one", default=False),
    Flag("help", "bool", "print the verb's manual and submit nothing", default=False),
)


EXTEND = Flag(
    "extend-args", "bool", "append to lists and merge mappings, as with --extend-args of the call", default=False
)


@dataclass(slots=True)
class Outcome:
    """What applying a step came to, on one node.

    Attributes:
        state: a final state letter of `director.states`.
        exit_code: of the process, None where there was none.
        stdout, stderr: bytes as they came, already capped.
        reason: one line a person can act on; needed for every state but success and cached.
        truncated: bytes of output that were left out.
        effects: JSON-able changes for `Scope.apply` (and for the node): any of
            `env {name: text}`, `arg {name: text}`, `declare [name]`, `user`, `workdir`, `shell [word]`,
            `labels {name: text|None}`, `query {node: {name: text}}`, `settled [name]` (ARGs that `--arg` no longer
            overrides), `output [name]` (ARGs set by a step's output), `quoted [name]` (names among `arg` and
            `env` whose value was written in quotes), `evict ["jobs"|"args"|"query"]` (what the node forgets).
    """

    state: int = SUCCESS
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    reason: str = ""
    truncated: int = 0
    effects: dict[str, Any] = field(default_factory=dict)


def success(stdout: str | bytes = b"", **effects: Any) -> Outcome:
    """A step that went well; `effects` are those of `Outcome`."""
    return Outcome(SUCCESS, stdout=_bytes(stdout), effects=effects)


def cached(stdout: str | bytes = b"", reason: str = "already so", **effects: Any) -> Outcome:
    """A step that found everything as asked."""
    return Outcome(CACHED, stdout=_bytes(stdout), reason=reason, effects=effects)


def failed(reason: str, stdout: str | bytes = b"", stderr: str | bytes = b"", exit_code: int | None = None) -> Outcome:
    """A step that failed, with the reason in one line."""
    return Outcome(FAILED, exit_code, _bytes(stdout), _bytes(stderr), reason)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


class Node(Protocol):
    """What a verb may do on a node; `director/executor.py` is the real one."""

    name: str
    job: str
    scope: Scope
    facts: Mapping[str, Any]
    labels: Mapping[str, str]

    def text(self, raw: str) -> str:
        """Render `{{ }}` and `{% %}` in `raw`; nothing else is touched (RUN). A step's `--raw` leaves all as is."""

    def word(self, raw: str, escape: str = "\\") -> str:
        """Render braces and `$X` in `raw` in one pass and take quotes and escapes away (COPY, ENV …).

        The step's `--raw` leaves the braces as they are.
        """

    def document(self, raw: str) -> str:
        """Render braces and `$X` in `raw` in one pass; quotes stay (the content of a heredoc of COPY)."""

    def run(
        self,
        argv: list[str],
        *,
        user: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        detach: bool = False,
        timeout: float | None = None,
        looks: bool = False,
    ) -> Outcome:
        """Run a program within the step's timeout in the RUN environment of DSL.md section 4.

        `user` None is the scope's and "" the client's own; `env` is added to the environment. The outcome is SUCCESS
        for exit code 0, FAILED for any other (with `exit_code` and a reason), TIMEOUT when it was killed.
        `timeout` (seconds) may only make the step's shorter. `detach` starts it in its own session, does not wait
        for it and never ends it with the step. `looks` says that the program only reads: a plan may run it too.
        """

    def blob(self, digest: str, size: int) -> str:
        """The path of the content with this sha256 hex digest, fetched from the server when not yet here."""

    def blueprint(self, source: str) -> str:
        """Render the text of a file as one template (`--blueprint`)."""

    def identity(self, user: str) -> tuple[int, int]:
        """uid and gid of `user[:group]` (names or numbers) on this node; raises VerbError."""

    def sleep(self, seconds: float) -> None:
        """Wait without stopping the client."""

    def breathe(self) -> None:
        """Let other work run; to be called every few milliseconds of CPU or disk work."""

    def exclusive(self, name: str) -> Any:
        """A context manager: only one task on this node is inside at a time (`PACKAGE`)."""

    def remaining(self) -> float:
        """Seconds until this attempt is ended by its timeout."""

    def query(self, name: str) -> dict[str, dict[str, Any]]:
        """`{node: {name: value}}` of the ARG or fact, of the nodes of the step that have it (QUERY)."""

    def reboot(self, delay: float) -> Outcome:
        """Wait until nothing else runs here, hold new tasks back, restart the host (REBOOT).

        The outcome comes from the client that is back under another boot id.
        """

    def pattern(self, raw: str, escape: str = "\\") -> str:
        """Like `word`, for a path with stars: those that come out of values are escaped and match themselves only."""

    def offer(self, patterns: list[str]) -> Fetched:
        """Send the files that absolute paths and globs of this node mean to the submitter's machine (FETCH)."""

    def borrow(self, number: int) -> Mapping[str, Any]:
        """The sources, as in the body of a COPY, that the step's node has for its set `number` (`COPY --from`)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of files that a node has sent.

    Attributes:
        paths: the destinations, one for each file and link.
        left_out: paths that were not written, each with the reason.
        changed: whether any of them was not as it is now.
    """

    paths: list[str]
    left_out: list[str] = field(default_factory=list)
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Want:
    """Files a step needs from the submitter's machine, read there with the caller's rights.

    Attributes:
        base: absolute folder that relative patterns start from.
        pattern: a path or glob as written.
        exclude: patterns relative to the source's root.
        hidden: whether a glob matches names that begin with a dot.
        parents: whether the path's folders are kept (`--parents`, `/./` pivots).
    """

    base: str
    pattern: str
    exclude: tuple[str, ...] = ()
    hidden: bool = True
    parents: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link that a `Want` came to.

    Attributes:
        path: where it goes below the destination, `/`-separated, "" for a single file given by name.
        kind: `file`, `dir` or `link`.
        mode: permission bits.
        size: bytes of a file.
        digest: sha256 hex of a file.
        target: of a link.
        name: the last part of the source's own path, used when the destination ends in `/`.
    """

    path: str
    kind: str
    mode: int = 0o644
    size: int = 0
    digest: str = ""
    target: str = ""
    name: str = ""


class Planning(Protocol):
    """What a verb may ask for while it is planned on the server; `director/planning/planner.py` is the real one.

    Attributes:
        folder: absolute; relative sources start from it.
        flags: the step's flags, rendered and typed; a verb may change them.
    """

    folder: str
    flags: dict[str, Any]

    def fail(self, message: str) -> Exception:
        """An error of this instruction, with its file and line, to be raised."""

    def word(self, raw: str, escape: str = "\\") -> str:
        """A source or the like with what is known when planning: the file's ARGs and `--arg`, `node` and `facts` of
        the node that is asked for; any other name is an error (DSL.md 4). Stars in values come out escaped.
        """

    def content(self, data: bytes) -> Entry:
        """Keep `data` in the blob store and return its entry; the step needs it."""

    def content_path(self, digest: str) -> str:
        """Where a content that was kept is."""

    def need(self, entry: Entry) -> None:
        """The step needs this content on its nodes."""

    def download(self, url: str, checksum: str) -> Entry:
        """Fetch `url` once and keep it; `checksum` is a sha256 in hex or ""."""

    def note(self, text: str) -> None:
        """A line for the submitter's stderr."""

    def target(self, expression: str) -> list[str]:
        """The nodes that a target expression (or the name of an earlier stage) means now."""

    def nodes(self) -> list[str]:
        """All nodes of the job."""


@dataclass(frozen=True, slots=True)
class Source:
    """The file of an own verb, which nodes fetch by its sha256 hex digest."""

    path: str
    data: bytes
    digest: str


class Verb(Syntax):
    """Base of every verb. All that other modules must know of a verb stands in its class; none of them names a verb.

    How an instruction is written is described by the attributes of `Syntax`; these describe what a step does:

    Attributes:
        name: upper case.
        flags: its own flags; one with the name of a common flag replaces it.
        complete: it needs neither an argument nor a flag.
        always: it only sets values: it is applied each time, and has changed only if a value has.
        compares: `apply` compares with the node: it is applied each time, and has changed the node unless cached.
        trusts_chain: the node does not show whether the step's result still holds: when it and the steps before it
            are those that ran last, it is cached and not applied. A verb with none of these three is applied each time.
        actions: flags that ask for an action, such as a restart, of which the node does not show whether it was done:
            while the step and those before it are those that ran last, `apply` gets them as False.
        pure: `apply` changes nothing on the node.
        diffs: the standard error of `foresee` is a diff of what would change.
        gathers: it asks for values of all nodes with `Node.query`.
        owned: flags that `parse` takes over into the body; they do not travel.
        source: the file of an own verb.
    """

    name: ClassVar[str] = ""
    flags: ClassVar[tuple[Flag, ...]] = ()
    complete: ClassVar[bool] = False
    always: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    trusts_chain: ClassVar[bool] = False
    actions: ClassVar[frozenset[str]] = frozenset()
    pure: ClassVar[bool] = False
    diffs: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    owned: ClassVar[frozenset[str]] = frozenset()
    source: Source | None = None

    @cached_property
    def flag_table(self) -> Mapping[str, Flag]:  # type: ignore[override]
        """The flags by name and alias, common ones included."""
        table = {flag.name: flag for flag in (*COMMON_FLAGS, *self.flags)}
        return table | {alias: flag for flag in self.flags for alias in flag.aliases}

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """The JSON-able body that travels to the nodes; raises `planning.fail(...)`."""
        raise planning.fail(f"{self.name} is not known here")

    def raws(self, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Every raw text in the body that is rendered on a node, each with its kind.

        Kinds: `word` (`Node.word`), `text` (`Node.text`), `document` (`Node.document`). The planner checks them.
        """
        for key in ("text", "user", "name", "dest"):
            if isinstance(body.get(key), str):
                yield "word", body[key]
        for key in ("words", "shell", "paths"):
            yield from (("word", word) for word in body.get(key, ()))
        yield from (("word", part) for pair in body.get("pairs", ()) for part in pair if part)

    def wants(self, body: Mapping[str, Any], planning: Planning) -> Iterable[Want]:
        """The files the step needs from the submitter; asked for each node where sources name `node` or `facts`."""
        return ()

    def sources(
        self, body: Mapping[str, Any], answers: Sequence[Sequence[Entry]], planning: Planning
    ) -> dict[str, Any]:
        """What goes into the body for the entries that `wants` came to, one list for each want."""
        return {}

    def strip(self, body: dict[str, Any]) -> None:
        """Take out of the body what only the planning needed."""

    def exchange(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """What the server must know, and no node may choose, to let nodes exchange something; out of the body."""
        return None

    def barrier(self, body: Mapping[str, Any]) -> bool:
        """Whether the step starts only when all nodes have ended the steps before it."""
        return False

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Do it on the node; raises VerbError for a failure with a reason."""
        from director.errors import VerbError

        raise VerbError(f"{self.name} cannot run on a node")

    def foresee(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome | None:
        """What `apply` would come to, found out without changing anything (`--plan`); None: only a run can tell.

        The reason of a success is what would be done.
        """
        return self.apply(body, flags, node) if self.pure else None
