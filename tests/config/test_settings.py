"""Settings from flags, variables and files: which source wins, what is refused, and the help and page of the table."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

from director.config import file, parser, settings
from director.config.table import ACTIONS, BY_NAME, SETTINGS
from director.errors import UsageError


@pytest.fixture(autouse=True)
def no_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEFAULT_FILES", (str(tmp_path / "etc.yaml"), "~/.config/director/director.yaml"))


def load(*argv: str, **environ: str) -> settings.Settings:
    return settings.load(argv, {"HOME": "/nowhere", **environ})


def fails(*argv: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(*argv, **environ)
    return str(caught.value)


def test_defaults():
    settings = load()
    assert (settings.port, settings.enroll_port, settings.server_address) == (5555, 5556, "localhost")
    assert (settings.heartbeat_interval, settings.lost_after, settings.drain) == (10.0, 300.0, 8.0)
    assert (settings.timeout, settings.valid_for, settings.limit, settings.output) == (600.0, 3600.0, 100, "table")
    assert (settings.history, settings.history_jobs) == (30 * 86400.0, 100_000)
    assert 1 <= settings.workers <= 4
    assert settings.identity
    assert set(settings.sources.values()) == {"default"}


def test_a_flag_beats_the_environment_which_beats_files(tmp_path: Path):
    home = tmp_path / "home/.config/director"
    home.mkdir(parents=True)
    (tmp_path / "etc.yaml").write_text("port: 1\nconcurrency: 1\ndrain: 1\nworkers: 1\n")
    (home / "director.yaml").write_text("port: 2\nconcurrency: 2\ndrain: 2\n")
    settings = load("--port", "4", HOME=str(tmp_path / "home"), DIRECTOR_PORT="3", DIRECTOR_CONCURRENCY="3")
    assert (settings.port, settings.concurrency, settings.drain, settings.workers) == (4, 3, 2.0, 1)
    assert settings.sources["port"] == "flag"
    assert settings.sources["concurrency"] == "environment"
    assert settings.sources["drain"] == f"file {home / 'director.yaml'}"
    assert settings.sources["workers"] == f"file {tmp_path / 'etc.yaml'}"


@pytest.mark.parametrize("how", ["flag", "equals", "variable"])
def test_with_config_file_only_that_one_is_read(tmp_path: Path, how: str):
    (tmp_path / "etc.yaml").write_text("port: 1\n")
    mine = tmp_path / "mine[1].yaml"
    mine.write_text("drain: 3s\n")
    argv = {"flag": ["--config-file", str(mine)], "equals": [f"--config-file={mine}"], "variable": []}[how]
    settings = load(*argv, **({"DIRECTOR_CONFIG_FILE": str(mine)} if how == "variable" else {}))
    assert (settings.port, settings.drain) == (5555, 3.0)


def test_an_error_in_a_file_names_the_file(tmp_path: Path):
    file = tmp_path / "x.yaml"
    assert fails("--config-file", str(file)) == f"{file}: No such file or directory; expected a settings file"
    file.mkdir()
    assert fails("--config-file", str(file)) == f"{file}: Is a directory; expected a settings file"
    file.rmdir()
    (tmp_path / "etc.yaml").mkdir()
    assert fails() == f"{tmp_path}/etc.yaml: Is a directory; expected a settings file"
    (tmp_path / "etc.yaml").rmdir()
    file.write_text("prot: 1\n")
    assert fails("--config-file", str(file)) == f"{file}: there is no setting 'prot'; did you mean port?"
    file.write_text("port: many\n")
    assert fails("--config-file", str(file)) == f"--port: 'many' is not a port; expected 1 to 65535 (from file {file})"
    file.write_text("- port\n")
    assert "expected `setting: value` lines" in fails("--config-file", str(file))
    file.write_bytes(b"name: \xff\n")
    assert "not UTF-8" in fails("--config-file", str(file))
    file.write_text("a: [\n")
    assert fails("--config-file", str(file)).startswith(f"{file}:")


@pytest.mark.parametrize(
    "text",
    [
        "port: 1",
        "# c\n\nstate-dir: /a/b # c\nname: 'x y'\nidentity: \"q\"\n",
        "wait-timeout: 1m30s\nname: a:b\nlog-level:\n",
        "target: [a, b]\n",
        "target:\n- a\n- 'b c'\n",
        "name: >-\n  long\n  text\n",
        "name: a\n  b\n",
        "name: a#b\nidentity: 0644\n",
        "---\nport: 1\n",
        'name: "a\\tb"\n',
        "name: 'it''s'\n",
        "name: null\nidentity: ~\n",
        "name: 'a # b'\nidentity: a  # c\n",
        'name: ""\nidentity: -a\ntarget: a,b\n',
        "name: &a x\nidentity: *a\n",
    ],
)
def test_the_plain_reader_reads_what_yaml_reads(text: str):
    import yaml

    loaded = yaml.load(text, Loader=yaml.BaseLoader)
    expected = {key: value for key, value in loaded.items() if value not in ("", "null", "~")}
    assert file.read(text, "f") == expected


def test_plain_lines_are_read_without_the_yaml_library():
    code = "import sys; from director.config import file; print(file.read(sys.argv[1], 'f'), 'yaml' in sys.modules)"
    text = "# port: 2\n\nport: 1 # c\nname: 'a b'\n"
    out = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True).stdout
    assert out == "{'port': '1', 'name': 'a b'} False\n"


def test_a_key_twice_is_an_error():
    with pytest.raises(UsageError, match="f:2: port is set twice"):
        file.read("port: 1\nport: 2\n", "f")


def test_an_unknown_variable_is_a_warning_with_the_nearest_name():
    settings = load(DIRECTOR_PROT="1", DIRECTOR_NODE="web-01", DIRECTOR_JOB="x", OTHER="1")
    assert settings.warnings == ("the variable DIRECTOR_PROT sets nothing; did you mean DIRECTOR_PORT?",)
    assert settings.node is None


def test_variables_of_kubernetes_are_ignored():
    settings = load(
        DIRECTOR_PORT="tcp://10.0.0.1:5555",
        DIRECTOR_SERVICE_HOST="10.0.0.1",
        DIRECTOR_SERVICE_PORT="5555",
        DIRECTOR_SERVICE_PORT_ENROLL="5556",
        DIRECTOR_PORT_5555_TCP="tcp://10.0.0.1:5555",
        DIRECTOR_PORT_5555_TCP_ADDR="10.0.0.1",
        DIRECTOR_SERVER_SERVICE_HOST="10.0.0.1",
        DIRECTOR_SERVER_PORT="tcp://10.0.0.1:5555",
    )
    assert (settings.port, settings.warnings) == (5555, ())


def test_options_may_follow_a_quoted_text():
    settings = load("--exec", "RUN uptime", "--wait", "--target", "a", "--target", "b,c", "--arg", "K=V=W", "--async")
    assert settings.wait and settings.asynchronous
    assert (settings.target, settings.arg) == (("a", "b,c"), {"K": "V=W"})


def test_lists_of_a_flag_replace_those_of_a_variable():
    assert load(DIRECTOR_TARGET="web-[01,02]").target == ("web-[01,02]",)
    assert load("--target", "b", DIRECTOR_TARGET="a").target == ("b",)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["server"], "did you mean --server?"),
        (["jobs"], "did you mean --list-jobs?"),
        (["logs"], "did you mean --job-info?"),
        (["list-nodez"], "did you mean --list-nodes?"),
        (["--lst-jobs"], "did you mean --list-jobs?"),
        (["--rewind", "x"], "there is no option --rewind"),
        (["--exec", "RUN a", "--list-jobs"], "--exec and --list-jobs are two"),
        (["--exec", "RUN a", "--exec", "RUN b"], "--exec is given twice"),
        (["--plan"], "--plan takes a FILE or --exec TEXT"),
        (["--plan", "f", "--exec", "RUN a"], "not both"),
        (["--port", "0"], "'0' is not a port; expected 1 to 65535"),
        (["--timeout", "soon"], "is not a duration; expected seconds"),
        (["--task-memory", "much"], "'much' is not a size; expected bytes or a number with K, M, G or T"),
        (["--task-memory", "10k"], "'10k' is out of range; expected 1M or more"),
        (["--task-pids", "0"], "out of range"),
        (["--output", "jsn"], "did you mean json?"),
        (["--arg", "x"], "'x' is not KEY=VALUE"),
        (["--limit", "-1"], "out of range"),
        (["--wait=maybe"], "neither true nor false"),
        (["--name", ""], "is empty"),
    ],
)
def test_usage_errors_suggest_the_right_option(argv: list[str], said: str):
    assert said in fails(*argv)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--purge-nodes", "--target", "a"], "--purge-nodes cannot use --target; did you mean --node?"),
        (["--list-nodes", "--target=a"], "--list-nodes cannot use --target; did you mean --node?"),
        (["--exec", "RUN a", "--node", "a"], "--exec cannot use --node; did you mean --target?"),
        (["--cancel-job", "x", "--target", "a"],
         "--cancel-job cannot use --target; it is for --exec, --orchestrate, --plan, --resume"),
        (["--plan", "f", "--wait"], "--plan cannot use --wait; it is for --exec, --orchestrate, --resume"),
        (["--list-jobs", "--no-cache=false"], "--list-jobs cannot use --no-cache; it is for"),
        (["--list-jobs", "--ignore-cache"], "--list-jobs cannot use --no-cache; it is for"),
        (["--wait-job", "x", "--timeout", "5"], "--wait-job cannot use --timeout; did you mean --wait-timeout?"),
        (["--list-jobs", "--timeout", "5"], "--list-jobs cannot use --timeout; did you mean --server-timeout?"),
        (["--list-jobs", "--server-address", "a"], "did you mean --socket-path?"),
        (["--server", "--server-address", "a"], "did you mean --bind-address?"),
        (["--client", "--port", "1"], "--client cannot use --port; did you mean --server-address?"),
        (["--client", "--socket-path", "a"], "--client cannot use --socket-path; did you mean --server-address?"),
        (["--client", "--name", "a"], "--client cannot use --name; did you mean --identity?"),
        (["--server", "--output", "json"], "--server cannot use --output; it is one of the options of a user's call"),
        (["--mode", "server", "--list-jobs"], "--list-jobs cannot use --mode; it is for --server, --client"),
        (["--mode", "server", "--limit", "1"], "--server cannot use --limit"),
    ],
)  # fmt: skip
def test_a_flag_that_the_action_cannot_use_is_refused(argv: list[str], said: str):
    assert said in fails(*argv)


def test_variables_and_keys_that_the_action_cannot_use_are_ignored(tmp_path: Path):
    (tmp_path / "etc.yaml").write_text("target: a\nport: 1\nlog-level: debug\nwait: true\n")
    assert load("--list-jobs", DIRECTOR_NO_CACHE="yes", DIRECTOR_IDENTITY="x").action == "list-jobs"
    assert "cannot use --target" in fails("--list-jobs", "--target", "b", DIRECTOR_TARGET="b")


def test_every_action_can_use_the_common_settings():
    for setting in SETTINGS:
        assert set(setting.used_by) <= set(settings.ACTION_NAMES), setting.name
        for name in setting.instead:
            assert set(BY_NAME[name].used_by) - set(setting.used_by), f"{name} is never shown for {setting.name}"
    for name in settings.ACTION_NAMES[2:]:
        usable = {setting.name for setting in SETTINGS if name in setting.used_by}
        assert usable >= {"socket-path", "state-dir", "server-timeout", "output", "config-file"}


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 1 << 20), ("512M", 512 << 20), ("2g", 2 << 30), ("3MiB", 3 << 20)]
)
def test_sizes(text: str, size: int):
    assert load("--task-memory", text).task_memory == load(DIRECTOR_TASK_MEMORY=text).task_memory == size


def test_no_option_may_be_shortened():
    assert "there is no option --tim" in fails("--tim", "3")


def test_yes_or_no_from_every_source():
    assert load("--wait").wait is True
    assert load(DIRECTOR_WAIT="yes").wait is True
    assert load("--wait=false", DIRECTOR_WAIT="true").wait is False
    assert load("--ignore-cache").no_cache is True
    assert "DIRECTOR_WAIT" in fails(DIRECTOR_WAIT="perhaps")


def test_a_yes_or_no_flag_takes_no_following_word():
    assert load("--orchestrate", "--wait", "a.director", "--async", "b.director").words == ("a.director", "b.director")
    assert load("--list-jobs", "--no-header", "last").words == ("last",)
    settings = load("--job-info", "--no-header", "false", "last")
    assert (settings.words, settings.no_header) == (("last",), False)


def test_mode_is_the_action_when_none_is_asked_for():
    assert load().action == ""
    assert load(DIRECTOR_MODE="client").action == "client"
    assert load("--list-jobs", DIRECTOR_MODE="client").action == "list-jobs"


def test_words_of_actions():
    assert load("--list-jobs", "a", "b", "--limit", "3").words == ("a", "b")
    assert load("--orchestrate", "-", "f").words == ("-", "f")
    plan = load("--plan", "--exec", "RUN x")
    assert (plan.action, plan.words, plan.text) == ("plan", (), "RUN x")


def test_settings_are_frozen_and_can_be_pickled():
    loaded = load("--port", "7", "--state", "failed,running")
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    assert loaded.state == ("failed", "running")
    assert loaded.replace(port=8).port == 8
    with pytest.raises(AttributeError):
        loaded.port = 9
    with pytest.raises(TypeError):
        settings.Settings(prot=1)
    assert settings.Settings(port=3).lost_after == 300.0


def test_help_and_page_name_every_setting_and_action(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        load("--help", "all")
    assert ended.value.code == 0
    shown, page = capsys.readouterr().out, settings_page()
    for thing in (*SETTINGS, *ACTIONS):
        assert f"--{thing.name}" in shown
        assert f"`--{thing.name}" in page or f", `--{thing.name}" in page
    for setting in SETTINGS:
        assert not setting.variable or f"`{setting.variable}`" in page
    assert shown.index("settings of the server") < shown.index("settings of the client")


def test_the_page_in_docs_is_what_the_table_says():
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == settings_page()


def settings_page() -> str:
    script = [sys.executable, str(ROOT / "scripts/settings-page"), "--print"]
    return subprocess.run(script, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("action", "has", "lacks"), [
    ("exec", "--target", "--limit"), ("list-jobs", "--limit", "--target"), ("cancel-job", "--output", "--bind-address"),
])  # fmt: skip
def test_a_call_has_the_options_of_its_action_only(monkeypatch: pytest.MonkeyPatch, action: str, has: str, lacks: str):
    build, built = parser.build, []
    monkeypatch.setattr(parser, "build", lambda *args: built.append(build(*args)) or built[-1])
    load(f"--{action}", "x")
    options = {option for option_action in built[0]._actions for option in option_action.option_strings}
    assert {"--" + name for name in settings.ACTION_NAMES} | {has} <= options
    assert lacks not in options


def test_a_daemon_reads_the_settings_of_the_other_from_variables():
    assert load("--client", DIRECTOR_PORT="1").port == 1
