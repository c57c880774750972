"""What a verb gets and gives: the node, the planning side, files, and the outcome of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from director.states import CACHED, FAILED, SUCCESS

if TYPE_CHECKING:
    from director.language.instructions import Instruction
    from director.language.scope import Scope
    from director.transfer.pieces import Content
    from director.transfer.unfinished import Unfinished


@dataclass(slots=True)
class Outcome:
    """The result of applying a step on one node.

    Attributes:
        state: a final state letter of `director.states`.
        exit_code: of the process, None when there was none.
        stdout, stderr: bytes, already limited.
        reason: one line that tells a person what to do; needed in every state but success and cached.
        truncated: bytes of output that were left out.
        effects: changes of the job's values and of the node, plain JSON: any of `env {name: text}`,
            `arg {name: text}`, `declare [name]`, `user`, `workdir`, `shell [word]`, `labels {name: text}` (of LABEL
            only: what later steps of the job see), `query {node: {name: text}}`, `settled [name]` (ARGs that `--arg` no
            longer overrides), `output [name]` (ARGs set by a step's output), `quoted [name]` (names in `arg` and `env`
            whose value was written in quotes), `relayed [name]` (names in `arg` and `env` whose value is made of what
            other nodes said; the client finds them), `secret [name]` (ARGs whose values will be secret),
            `withheld [name]` (ARGs and ENVs whose values are in `private`; the client finds them),
            `evict ["jobs"|"args"|"query"]` (what the node forgets).
        private: values of secret ARGs and ENVs; they stay in memory.
    """

    state: int = SUCCESS
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    reason: str = ""
    truncated: int = 0
    effects: dict[str, Any] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict, repr=False)


def success(stdout: str | bytes = b"", **effects: Any) -> Outcome:
    """The outcome of a step that changed something; `effects` as in `Outcome`."""
    return Outcome(SUCCESS, stdout=_bytes(stdout), effects=effects)


def cached(stdout: str | bytes = b"", reason: str = "already so", **effects: Any) -> Outcome:
    """The outcome of a step that had nothing to change."""
    return Outcome(CACHED, stdout=_bytes(stdout), reason=reason, effects=effects)


def failed(reason: str, stdout: str | bytes = b"", stderr: str | bytes = b"", exit_code: int | None = None) -> Outcome:
    """The outcome of a step that failed; `reason` is one line."""
    return Outcome(FAILED, exit_code, _bytes(stdout), _bytes(stderr), reason)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


class Node(Protocol):
    """What a verb may do on a node; `director.agent.executor.TaskNode` implements it.

    What cannot be done raises VerbError with the reason, or LateError when the step's time is over.
    """

    name: str
    job: str
    scope: Scope
    facts: Mapping[str, Any]
    labels: Mapping[str, str]
    unfinished: Unfinished | None

    def text(self, raw: str) -> str:
        """Render `{{ }}` and `{% %}` in `raw` and nothing else; with the step's `--raw` nothing at all."""

    def shell(self, raw: str) -> str:
        """As `text`, for text that a shell reads (RUN).

        Raises VerbError when it would have a value made of what other nodes said that is neither plain nor quoted.
        """

    def word(self, raw: str, escape: str = "\\") -> str:
        """Render braces and `$X` in `raw` in one pass and remove quotes and escapes (COPY, ENV …).

        With the step's `--raw` braces stay as they are.
        """

    def document(self, raw: str) -> str:
        """Render braces and `$X` in `raw` in one pass; quotes stay (a heredoc of COPY)."""

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

        Args:
            user: None is the user of the scope, "" that of the client.
            env: added to the environment.
            detach: start it in its own session; do not wait for it and do not end it with the step.
            timeout: seconds; it can only shorten that of the step.
            looks: the program only reads, so `--plan` may run it too.

        The state is SUCCESS for exit code 0, FAILED for any other, TIMEOUT when the program was killed.
        """

    def blob(self, digest: str, size: int) -> str:
        """The path of the blob with this sha256 hex digest and size in bytes; it is fetched when it is missing."""

    def receive(self, contents: Sequence[Content], take: Callable[[Content, memoryview, bool], None]) -> None:
        """Request contents that the step needs, none of them empty, and give `take` their bytes in order.

        Args:
            take: gets a content, its next bytes, and whether they are its last; it checks the digest. What it raises
                ends the request, and is raised.
        """

    def blueprint(self, source: str) -> str:
        """Render the text of a file as one template (`--blueprint`)."""

    def secret(self, name: str) -> bytes:
        """The value of a secret that the step uses. Raises VerbError."""

    def hide(self, text: str) -> str:
        """The text with all secrets of the job masked."""

    def memory_file(self, data: bytes, mode: int, uid: int, gid: int) -> Any:
        """A context manager that gives the path of a file in memory which only this user can reach (-1: the client's).

        Raises VerbError: there is none.
        """

    def identity(self, user: str) -> tuple[int, int]:
        """uid and gid of `user[:group]` (names or numbers) on this node. Raises VerbError for an unknown one."""

    def sleep(self, seconds: float) -> None:
        """Wait while other tasks run."""

    def breathe(self) -> None:
        """Let other tasks run; call it every few milliseconds of CPU or disk work."""

    def exclusive(self, name: str) -> Any:
        """A context manager that only one task on this node can be in at a time (PACKAGE)."""

    def remaining(self) -> float:
        """Seconds until the timeout of this attempt."""

    def query(self, name: str) -> dict[str, dict[str, Any]]:
        """`{node: {name: value}}` of the ARG or fact, for the nodes of the job that have it (QUERY)."""

    def reboot(self, delay: float) -> Outcome:
        """Start no new task, wait until no other runs, restart the host after `delay` seconds (REBOOT).

        The client that starts under another boot id makes the outcome.
        """

    def pattern(self, raw: str, escape: str = "\\") -> str:
        """`word` for a glob: stars that come out of values are escaped."""

    def offer(self, patterns: list[str]) -> Fetched:
        """Send the files that match absolute paths and globs of this node to the submitter's machine (FETCH)."""

    def borrow(self, number: int) -> Mapping[str, Any]:
        """The sources for set `number`, as in the body of a COPY, read on the source node (`COPY --from`)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was written of the files that a node sent.

    Attributes:
        paths: the destinations, one for each file and link.
        left_out: paths that were not written, each with the reason.
        changed: whether writing changed anything.
    """

    paths: list[str]
    left_out: list[str] = field(default_factory=list)
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Want:
    """Files a step needs from the submitter's machine, read there with the caller's rights.

    Attributes:
        base: the absolute folder of relative patterns.
        pattern: a path or glob.
        exclude: patterns of what to leave out, relative to the source.
        hidden: whether a glob matches names that begin with a dot.
        parents: whether the folders of the path are kept (`--parents`).
    """

    base: str
    pattern: str
    exclude: tuple[str, ...] = ()
    hidden: bool = True
    parents: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link that matches a `Want`.

    Attributes:
        path: below the destination, "" for a file that was named itself.
        kind: `file`, `dir` or `link`.
        mode: permission bits.
        size: bytes of a file.
        digest: sha256 hex of a file.
        target: of a link.
        name: the last part of the source's path, used when the destination ends in `/`.
        pack, offset: sha256 hex and size of the blob in which small files are packed, and where this one begins there;
            None when it is a blob itself.
        extents: offset and length of each part of a file with holes that has data; its blob has these parts only.
            None for a file without holes.
    """

    path: str
    kind: str
    mode: int = 0o644
    size: int = 0
    digest: str = ""
    target: str = ""
    name: str = ""
    pack: tuple[str, int] | None = None
    offset: int = 0
    extents: tuple[tuple[int, int], ...] | None = None

    @property
    def blob(self) -> tuple[str, int]:
        """Digest and size of the blob that has it."""
        size = self.size if self.extents is None else sum(length for _, length in self.extents)
        return self.pack or (self.digest, size)


class Planning(Protocol):
    """What a verb may use while it is planned on the server; `director.planning.step_builder` implements it.

    What cannot be done raises the error that `fail` makes, a LanguageError.

    Attributes:
        folder: the absolute folder of relative sources.
        flags: the step's flags, rendered and typed; a verb may change them.
    """

    folder: str
    flags: dict[str, Any]

    def fail(self, message: str) -> Exception:
        """An error with the file and line of the instruction, to be raised."""

    def word(self, raw: str, escape: str = "\\") -> str:
        """Render a source with what is known when planning: ARGs of the file, `--arg`, `node` and `facts`.

        Stars in values come out escaped. Raises `fail(…)` for any other name (DSL.md section 4).
        """

    def fixed(self, raw: str, escape: str = "\\") -> str:
        """Render a word with what no node has a say in: ARGs of the file, `--arg`, `node.id` and `node.labels`.

        Raises `fail(…)` for any other name.
        """

    def content(self, data: bytes) -> Entry:
        """Keep `data` as a blob that the step needs, and give its entry."""

    def content_path(self, digest: str) -> str:
        """The path of a blob that was kept."""

    def secret(self, name: str) -> None:
        """The step uses a secret. Raises `fail(…)`: it cannot have this name, or is not given."""

    def need(self, entry: Entry) -> None:
        """The nodes of the step need the blob of this entry."""

    def download(self, url: str, checksum: str) -> Entry:
        """Fetch `url` once and keep it as a blob; `checksum` is a sha256 in hex or ""."""

    def note(self, text: str) -> None:
        """Print a line on the submitter's standard error."""

    def target(self, expression: str) -> list[str]:
        """The nodes that match a target expression, or those of an earlier stage of this name."""

    def nodes(self) -> list[str]:
        """All nodes of the job."""


class Argument(Protocol):
    """Reads an argument into a body."""

    def __call__(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """The raw words of the argument, as plain JSON. Raises LanguageError."""
