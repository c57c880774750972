"""The one table of settings and actions: flags, `DIRECTOR_*`, file keys, `--help` and docs/settings.md come from it."""

from __future__ import annotations

SERVER = "server"
CLIENT = "client"
USER = "user"
COMMON = "common"

METAVARS = {"int": "N", "pairs": "KEY=VALUE"}  # of a kind; of the others the kind's name
GROUPS = {
    SERVER: "settings of the server",
    CLIENT: "settings of the client",
    USER: "options of a user's call",
    COMMON: "settings that all share",
}


class Setting:
    """One setting.

    Attributes:
        name: as in `--name` and in a file.
        names: `name` and the aliases.
        attribute: the attribute of `Settings`; `asynchronous` for `async`, which is a word of Python.
        variable: `DIRECTOR_NAME`, the environment variable; "" when there is none.
        kind: `text`, `path`, `int`, `port`, `duration` (seconds, float), `size` (bytes, int), `yesno`, `choice`,
            `list` (repeatable, tuple of texts), `words` (repeatable and split at commas) or `pairs` (repeatable
            KEY=VALUE, a dict).
        default: the value when nothing sets it, converted but for a duration; `shown` is its text in the help.
        group: a key of `GROUPS`.
        metavar: the name of the value in the help.
        help: one line.
        choices: for `choice` and `words`.
        aliases: other names of the flag.
        low, high: the smallest and largest number, or seconds of a duration.
        short: the letter of the short flag, "" for none.
        foreign: the letters that other tools have for it.
        used_by: the actions that can use it; on the command line of any other action the flag is an error.
        instead: the settings that the error suggests, the likeliest first.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        default: object,
        group: str,
        help: str,
        *,
        shown: str = "",
        metavar: str = "",
        choices: tuple[str, ...] = (),
        aliases: tuple[str, ...] = (),
        short: str = "",
        foreign: str = "",
        low: float = 0,
        high: float = float("inf"),
        env: bool = True,
        used_by: tuple[str, ...] = (),
        instead: tuple[str, ...] = (),
    ) -> None:
        self.name, self.kind, self.default, self.group, self.help = name, kind, default, group, help
        self.attribute = "asynchronous" if name == "async" else name.replace("-", "_")
        self.variable = "DIRECTOR_" + name.replace("-", "_").upper() if env else ""
        self.shown, self.choices, self.aliases = shown, choices, aliases
        self.short, self.foreign = short, foreign
        self.names = (name, *aliases)
        self.metavar = metavar or "|".join(choices) or METAVARS.get(kind) or kind.upper()
        self.low, self.high = low, high
        self.used_by, self.instead = used_by or USED_BY[group], instead


class Action:
    """One action of the command line.

    Attributes:
        name: the flag without dashes.
        command: the same as a subcommand; the name is one, too.
        takes: `none`, `one`, `some` (one or more), `any` (none or more) words.
        metavar: the word's name in the help.
        help: one line.
        hints: the words that other tools have for it.
    """

    def __init__(self, name: str, takes: str, metavar: str, help: str, hints: str = "", *, command: str = "") -> None:
        self.name, self.takes, self.metavar, self.help = name, takes, metavar, help
        self.command = command or name
        self.hints = hints.split()


# fmt: off
ACTIONS: tuple[Action, ...] = (
    Action("server", "none", "", "run the server in the foreground", "daemon serve"),
    Action("client", "none", "", "run the client in the foreground", "agent"),
    Action("exec", "one", "TEXT", "submit instructions; unquoted, everything behind a bare verb is the instruction",
           "shell"),
    Action("orchestrate", "some", "FILE", "submit files, each one job; - is standard input", "apply play",
           command="run"),
    Action("plan", "any", "FILE", "show what FILE (or --exec) would run where and why; run nothing",
           "dry-run check diff"),
    Action("resume", "one", "ID", "a new job that runs only what did not succeed in ID"),
    Action("list-jobs", "any", "ID", "list jobs, newest last", "ps list ls status get history changes", command="jobs"),
    Action("list-nodes", "none", "", "list nodes, by name", "hosts", command="nodes"),
    Action("job-info", "one", "ID", "everything known of a job; a unique prefix or the word last will do",
           "describe inspect logs job", command="info"),
    Action("node-info", "one", "NODE", "everything known of a node", command="node"),
    Action("follow", "one", "ID", "show the output of a job as it comes, from its start until it ends", "tail"),
    Action("why", "some", "JOB", "why the tasks of JOB are where they are, and what would move them: JOB [NODE]",
           "explain"),
    Action("wait-job", "some", "ID", "wait until jobs are final; output and exit code as with --wait",
           command="wait"),
    Action("cancel-job", "some", "ID", "stop jobs everywhere", "stop kill", command="cancel"),
    Action("purge-jobs", "any", "ID", "forget final jobs", "rm prune delete forget", command="purge"),
    Action("purge-nodes", "none", "", "forget offline nodes; who comes back is new"),
    Action("create-token", "none", "", "print a token with which clients enrol themselves", "token join"),
    Action("list-tokens", "none", "", "list tokens, without their secrets", "tokens"),
    Action("revoke-token", "one", "ID", "end a token"),
    Action("accept-node", "one", "EXPR", "give keys that wait their names; asks, or takes --key", "accept sign"),
    Action("reject-node", "one", "EXPR", "forget keys that wait", "reject"),
    Action("renew-node", "one", "EXPR", "open a name once for a new key with any token: for reinstalled machines"),
    Action("revoke-node", "one", "EXPR", "forbid the keys of nodes for good, and cut their connections", "revoke"),
    Action("label-node", "some", "EXPR", "set labels of nodes: EXPR KEY=VALUE ..., KEY= removes; - reads CSV or JSON",
           "label tag"),
    Action("rotate-key", "one", "EXPR", "let nodes replace their keys; those that are offline do when they are back",
           "rotate"),
    Action("verify-audit", "none", "", "find changed, missing and misplaced lines of the audit log", "audit"),
    Action("export-jobs", "one", "FILE", "write every job to FILE as YAML or JSON by its ending; - is standard output",
           command="export"),
    Action("export-nodes", "one", "FILE", "the same for nodes"),
    Action("doctor", "none", "", "check the server and the client of this machine, with a remedy for what is not well",
           "check health"),
    Action("show-config", "none", "", "show every setting, its value and where that comes from", "config settings"),
    Action("completion", "one", "SHELL", "print the completion script of bash, zsh or fish"),
    Action("version", "none", "", "print the version"),
)
# fmt: on

DAEMONS = ("server", "client")
SUBMISSIONS = ("exec", "orchestrate", "plan", "resume")
WAITS = ("exec", "orchestrate", "resume")
LISTS = ("list-jobs", "list-nodes")
WATCHED = (*LISTS, "list-tokens")
OVERVIEWS = ("doctor", "show-config")  # they take every setting
ASKING = (*WAITS, "purge-jobs", "purge-nodes", "accept-node", "reject-node", "revoke-node", "revoke-token")
SHOWS = (*WAITS, "wait-job", "job-info")
EXPORTS = ("export-jobs", "export-nodes")
EVERY = tuple(action.name for action in ACTIONS)
CALLS = tuple(name for name in EVERY if name not in DAEMONS)
# the actions that can use a setting whose row does not say it
USED_BY = {SERVER: ("server",), CLIENT: ("client",), USER: CALLS, COMMON: EVERY}

FORMATS = ("table", "json", "jsonl", "yaml", "csv")

# fmt: off
SETTINGS: tuple[Setting, ...] = (
    # of the server
    Setting("bind-address", "text", "*", SERVER,
            "address the server listens on", shown="all", metavar="ADDRESS", instead=("server-address", "socket-path")),
    Setting("port", "port", 5555, SERVER, "port the clients connect to", instead=("server-address", "socket-path")),
    Setting("socket-group", "text", None, SERVER,
            "group that may use the operator's socket", metavar="GROUP", shown="the server's own"),
    Setting("store", "choice", "sqlite", SERVER,
            "where the ledger is kept: sqlite in the state folder; memory: keeps nothing",
            choices=("sqlite", "memory:")),
    Setting("new-ledger", "yesno", False, SERVER,
            "begin a new ledger where the old one or its key is missing or another's; what is left of it is put aside"),
    Setting("heartbeat-interval", "duration", "10s", SERVER,
            "pace of heartbeats, clients take it from the server; a node is offline after three missed", low=0.1,
            high=3600),
    Setting("lost-after", "duration", "5m", SERVER,
            "silence after which a node's sent and running tasks are lost", low=1),
    Setting("workers", "int", None, SERVER,
            "planner processes", shown="CPU count, at most 4", low=1, high=64, instead=("concurrency",)),
    Setting("verbs-path", "path", "/etc/director/verbs", SERVER, "folder of your own verbs", metavar="FOLDER"),
    Setting("enrollment", "choice", "auto", SERVER,
            "how a new key gets a new name; auto: the first one that asks; token: with a token; manual: when accepted",
            choices=("auto", "token", "manual")),
    Setting("enroll-from", "words", ("private",), SERVER,
            "networks from which mode auto enrols; private: private ones and this machine's; all; repeatable",
            shown="private", metavar="NETWORK"),
    Setting("advertise-address", "words", (), SERVER,
            "addresses of this server for tokens, host[:port]; repeatable", shown="its own", metavar="HOST[:PORT]"),
    Setting("history", "duration", "30d", SERVER, "final jobs older than this are dropped"),
    Setting("history-jobs", "int", 100_000, SERVER, "final jobs beyond this number are dropped, oldest first"),
    Setting("audit-file-size", "size", 64 << 20, SERVER, "size after which the audit log begins a new file",
            shown="64M", low=1 << 20),
    Setting("audit-files", "int", 16, SERVER, "files of the audit log that are kept; older ones are removed", low=2,
            high=10_000),
    Setting("audit-to", "text", None, SERVER,
            "send the audit log to this syslog receiver too: tcp://HOST[:PORT] or tls://HOST[:PORT]", metavar="ADDRESS",
            shown="none"),
    Setting("audit-ca", "path", None, SERVER,
            "file with the certificates that sign that of the receiver", metavar="FILE", shown="those of the system"),
    # of the client
    Setting("server-address", "text", "localhost", CLIENT,
            "the server, host[:port]; looked up again at each reconnect", metavar="HOST[:PORT]",
            instead=("bind-address", "socket-path")),
    Setting("server-key", "text", None, CLIENT,
            "the server's public key, as its log shows it", shown="of the token, or of the first contact",
            metavar="KEY"),
    Setting("token-file", "path", None, CLIENT,
            "file with the token of --create-token; the variable DIRECTOR_TOKEN has the token itself",
            metavar="FILE", shown="none"),
    Setting("identity", "text", None, CLIENT,
            "the node's name", shown="the host name", metavar="NAME", instead=("node", "target")),
    Setting("concurrency", "int", 8, CLIENT, "tasks at once", low=1, high=10_000, instead=("workers",)),
    Setting("drain", "duration", "8s", CLIENT, "time running tasks have left after SIGTERM"),
    Setting("task-pids", "int", None, CLIENT,
            "processes a task may have at a time; one with more fails and is ended",
            shown="a quarter of the system's limit, at most 4096", low=1, high=4_194_304),
    Setting("task-memory", "size", None, CLIENT,
            "memory a task may take, as 512M or 2G; one that takes more fails and is ended", shown="no bound",
            low=1 << 20),
    Setting("allow-verbs", "words", (), CLIENT,
            "run only these verbs, whatever the server asks for; own: all verbs of the operator; repeatable",
            shown="all", metavar="VERB"),
    Setting("deny-verbs", "words", (), CLIENT, "never run these verbs; repeatable", shown="none", metavar="VERB"),
    Setting("read-only", "yesno", False, CLIENT, "run no command, and no verb that changes anything on the node"),
    Setting("no-root", "text", None, CLIENT,
            "give up root and run everything as this user, file verbs too", shown="none", metavar="NAME"),
    Setting("reboot-command", "text", None, CLIENT,
            "what REBOOT runs to restart the host", shown="systemctl reboot, without systemd /sbin/reboot",
            metavar="COMMAND"),
    # of a user's call
    Setting("target", "list", (), USER,
            "nodes: names, sets, globs, ~regex, label:K=V, fact:K=V, all, and, or, not; repeatable", metavar="EXPR",
            short="t", foreign="wlH", used_by=SUBMISSIONS, instead=("node",)),
    Setting("wait", "yesno", False, USER, "wait until the job is final and print its results", used_by=WAITS),
    Setting("stream", "yesno", False, USER, "wait, and show the output as it comes", used_by=WAITS),
    Setting("quiet", "yesno", False, USER, "show no progress and no notes while waiting",
            used_by=(*WAITS, "wait-job", "follow")),
    Setting("wait-timeout", "duration", None, USER,
            "stop waiting after this long (exit 4); the job goes on", shown="none", used_by=(*WAITS, "wait-job"),
            instead=("server-timeout",)),
    Setting("server-timeout", "duration", "15s", USER,
            "end the call (exit 3) when the server has given no sign of life for this long", low=0.1),
    Setting("timeout", "duration", "10m", USER,
            "end each task after this long", low=0.001, used_by=SUBMISSIONS,
            instead=("wait-timeout", "server-timeout")),
    Setting("valid-for", "duration", "1h", USER,
            "how long a task may wait for its node; 0: only nodes online now", used_by=SUBMISSIONS),
    Setting("no-cache", "yesno", False, USER,
            "run every step, cached or not", aliases=("ignore-cache",), used_by=SUBMISSIONS),
    Setting("arg", "pairs", {}, USER, "set an ARG; beats the file; repeatable", short="a", foreign="e",
            used_by=SUBMISSIONS),
    Setting("secret", "list", (), USER,
            "a secret for the steps that name it: id=NAME,src=FILE or id=NAME,env=VARIABLE; repeatable",
            metavar="id=NAME,...", shown="none", env=False, used_by=SUBMISSIONS),
    Setting("extend-args", "yesno", False, USER, "ARGs append to lists and merge mappings", used_by=SUBMISSIONS),
    Setting("async", "yesno", False, USER, "files run side by side", used_by=SUBMISSIONS),
    Setting("name", "text", None, USER,
            "a name for the job", metavar="TEXT", shown="none", used_by=SUBMISSIONS, instead=("identity",)),
    Setting("output", "choice", "table", USER, "form of the answer", choices=FORMATS, short="o"),
    Setting("no-header", "yesno", False, USER,
            "tables and CSV without their first line", used_by=tuple(name for name in CALLS if name not in EXPORTS)),
    Setting("limit", "int", 100, USER,
            "list at most so many, the newest; 0: all; nodes: all unless it is given", foreign="n",
            used_by=LISTS),
    Setting("failed", "yesno", False, USER,
            "show only tasks that failed, timed out, were lost or expired", used_by=SHOWS),
    Setting("step", "int", None, USER,
            "show only this step, counted from 1", shown="all", low=1, used_by=(*SHOWS, "follow")),
    Setting("per-node", "yesno", False, USER,
            "a row for each node; false: equal ones folded, in a pipe too", used_by=(*SHOWS, "list-nodes"),
            shown="folded on a terminal"),
    Setting("fact", "text", None, USER,
            "group the nodes by this fact, as os.version", metavar="NAME", shown="none", env=False,
            used_by=("list-nodes",)),
    Setting("state", "words", (), USER,
            "list only these states; repeatable", metavar="STATE", used_by=(*LISTS, "purge-jobs")),
    Setting("since", "duration", None, USER,
            "list only jobs created, or nodes heard, within this time", shown="any age",
            used_by=(*LISTS, "purge-jobs")),
    Setting("watch", "yesno", False, USER,
            "show the list again every two seconds, until Ctrl-C; without a terminal each time that it has changed",
            foreign="w", env=False, used_by=WATCHED),
    Setting("ttl", "duration", None, USER,
            "how long a token is in force (1h), or a name open for a new key (4h)", shown="1h or 4h", low=1,
            used_by=("create-token", "renew-node"), instead=("valid-for",)),
    Setting("max-nodes", "int", 0, USER, "how many nodes a token enrols; 0: any number", used_by=("create-token",)),
    Setting("nodes", "text", None, USER,
            "the names that a token enrols: names, sets, globs, ~regex", metavar="EXPR", shown="any",
            used_by=("create-token",), instead=("node", "target")),
    Setting("label", "pairs", {}, USER, "a label of the nodes that a token enrols; repeatable",
            used_by=("create-token",)),
    Setting("reusable", "yesno", False, USER,
            "a new key may take over a name that was enrolled with the token, when its holder is gone",
            used_by=("create-token",)),
    Setting("with-nodes", "yesno", False, USER, "revoke the nodes that the token enrolled, too",
            used_by=("revoke-token",)),
    Setting("key", "list", (), USER,
            "the key that is meant, or how it begins; repeatable", metavar="KEY",
            used_by=("accept-node", "reject-node")),
    Setting("yes", "yesno", False, USER, "do not ask, on a terminal either", short="y", used_by=ASKING),
    Setting("confirm-above", "int", 100, USER,
            "ask on a terminal before more nodes than this get a job; 0: never", used_by=WAITS),
    Setting("expect-nodes", "int", None, USER,
            "refuse the job (exit 5) when it is for another number of nodes", used_by=WAITS, shown="any number"),
    # no variable: DIRECTOR_TOKEN is the token itself
    Setting("token", "text", None, USER, "list only nodes that were enrolled with the token of this id", metavar="ID",
            shown="any", env=False, used_by=("list-nodes",), instead=("token-file",)),
    # no variable: a RUN has DIRECTOR_NODE in its environment, the name of the node it runs on
    Setting("node", "text", None, USER,
            "only jobs or tasks on, or only nodes among, those EXPR names", metavar="EXPR", shown="all", env=False,
            used_by=(*LISTS, "job-info", "wait-job", "follow", "purge-jobs", "purge-nodes"), instead=("target",)),
    # of all
    Setting("enroll-port", "port", 5556, COMMON, "port on which clients ask to be enrolled", used_by=DAEMONS),
    Setting("socket-path", "path", None, COMMON,
            "the operator's socket", metavar="PATH",
            shown="the first usable of /run/director/director.sock, $XDG_RUNTIME_DIR/director/director.sock, "
            "director.sock in the state folder",
            used_by=("server", *CALLS), instead=("server-address",)),
    Setting("state-dir", "path", None, COMMON,
            "keys, ledger, files", metavar="FOLDER", shown="/var/lib/director, else ~/.local/state/director"),
    Setting("mode", "choice", None, COMMON,
            "what to run when no action is given", choices=("server", "client"), used_by=DAEMONS, shown="none"),
    Setting("log-level", "choice", "info", COMMON,
            "least level that is logged to stderr", choices=("debug", "info", "warning", "error"), used_by=DAEMONS),
    Setting("log-format", "choice", "text", COMMON, "form of log lines", choices=("text", "json"), used_by=DAEMONS),
    Setting("profile", "path", None, COMMON,
            "sample where the time goes into files in FOLDER, as folded stacks (docs/performance.md)",
            metavar="FOLDER"),
    Setting("config-file", "path", None, COMMON,
            "read this settings file and no other", metavar="FILE",
            shown="/etc/director/director.yaml, then ~/.config/director/director.yaml"),
)
# fmt: on

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_FLAG = {"--" + name: setting for setting in SETTINGS for name in (setting.name, *setting.aliases)}
