"""The process runner: every way a step can end, and that no process of it is left."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import own_cgroup, remove_cgroup, wait_until

from director.process import cgroup

CLIENT = Path(__file__).with_name("process_client.py")
LONG = 20.0  # seconds after which a wait is a failure


class Client:
    """The other end of `process_client.py`."""

    def __init__(self) -> None:
        command = [sys.executable, str(CLIENT)]
        # a session of its own, as the client has under systemd
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def send(self, name: str, *arguments: Any) -> None:
        assert self.popen.stdin
        self.popen.stdin.write(json.dumps([name, arguments]).encode() + b"\n")
        self.popen.stdin.flush()

    def ask(self, name: str, *arguments: Any) -> Any:
        assert self.popen.stdout
        self.send(name, *arguments)
        return json.loads(self.popen.stdout.readline())

    def run(self, *argv: str, **fields: Any) -> Ran:
        return self.together({"argv": argv, **fields})[0]

    def sh(self, command: str, **fields: Any) -> Ran:
        return self.run("/bin/sh", "-c", command, **fields)

    def together(self, *specs: dict[str, Any]) -> list[Ran]:
        return [Ran.read(one) for one in self.ask("run", *specs)]

    def stop(self) -> None:
        assert self.popen.stdin and self.popen.stdout
        self.popen.stdin.close()
        self.popen.wait(LONG)
        self.popen.stdout.close()


@dataclass
class Ran:
    """A result, outputs as bytes."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: int
    duration: float
    timed_out: bool
    cancelled: bool
    suspended: float
    error: str
    pid: int

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Ran:
        streams = {name: base64.b64decode(fields[name]) for name in ("stdout", "stderr")}
        return cls(**{**fields, **streams})


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    one = Client()
    yield one
    one.stop()


_count = iter(range(10**6))


@pytest.fixture
def nap() -> Iterator[str]:
    """A `sleep` duration unique to the test; leftovers are killed after it."""
    word = f"1000.{os.getpid()}{next(_count):04}"
    yield word
    for pid in alive(word):
        os.kill(pid, signal.SIGKILL)


def alive(word: str) -> list[int]:
    """Processes with `word` as an argument of their own."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in arguments:
            found.append(int(name))
    return found


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
@pytest.mark.parametrize("before", ["", "sleep 0.05; "], ids=["quick", "long"])
def test_exit_codes(client: Client, before: str, command: str, code: int) -> None:
    ran = client.sh(f"echo out; echo err >&2; {before}{command}")
    assert (ran.exit_code, ran.stdout, ran.stderr, ran.error) == (code, b"out\n", b"err\n", "")
    assert not ran.timed_out and not ran.cancelled and ran.duration > 0 and ran.pid > 0


def test_unknown_command(client: Client) -> None:
    for name in ("no-such-program", "/no/such/program"):
        ran = client.run(name)
        assert ran.exit_code == 127
        assert ran.error == f"no such program: {name}"


def test_not_executable(client: Client, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    assert client.run(str(plain)).error == f"not executable: {plain}"
    ran = client.run("plain", env={"PATH": f"/nowhere:{tmp_path}"})
    assert (ran.exit_code, ran.error) == (126, f"not executable: {plain}")


def test_missing_interpreter(client: Client, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/shell\n")
    script.chmod(0o755)
    ran = client.run(str(script))
    assert ran.exit_code == 127 and "interpreter" in ran.error


def test_what_cannot_be_an_argument(client: Client) -> None:
    assert client.run("/bin/echo", "a\0b").exit_code == 126
    assert client.run().error == "no program is named"
    assert "Argument list too long" in client.run("/bin/echo", "x" * 3_000_000).error


def test_folder(client: Client, tmp_path: Path) -> None:
    assert client.sh("pwd", cwd=str(tmp_path)).stdout == f"{tmp_path}\n".encode()
    assert client.sh("pwd").stdout == f"{os.getcwd()}\n".encode()
    ran = client.sh("pwd", cwd=str(tmp_path / "gone"))
    assert ran.exit_code == 126
    assert ran.error == f"working folder {tmp_path / 'gone'}: No such file or directory"


def test_program_is_looked_up_in_the_environment_it_is_given(client: Client, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "tool"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    assert client.run("tool", env={"PATH": f"{tmp_path}/bin:/bin"}).stdout == b"mine\n"
    assert client.run("./tool", cwd=str(tool.parent)).stdout == b"mine\n"


def test_environment_and_surroundings(client: Client) -> None:
    env = {"PATH": os.defpath, "NAME": "ü x"}
    ran = client.run("env", env=env, token="t1")
    assert set(ran.stdout.decode().splitlines()) == {f"PATH={os.defpath}", "NAME=ü x", "DIRECTOR_TASK=t1"}
    assert client.sh("umask").stdout == b"0022\n"
    assert client.sh("ls /proc/self/fd").stdout == b"0\n1\n2\n3\n"
    signals = client.run("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status").stdout.split()
    # two signals above 31 are the C library's own
    assert [int(word, 16) & 0x7FFFFFFF for word in signals[1::2]] == [0, 0]


def test_input(client: Client) -> None:
    assert client.run("cat").stdout == b""
    assert client.run("cat", stdin="some\nlines").stdout == b"some\nlines"
    ran = client.run("wc", "-c", stdin="x" * 300_000)
    assert ran.stdout.split() == [b"300000"]


def test_binary_output(client: Client) -> None:
    assert client.run("printf", r"\377\000\001\n\377").stdout == b"\xff\x00\x01\n\xff"


def test_large_output_is_complete_below_the_cap(client: Client) -> None:
    ran = client.sh("head -c 5000000 /dev/zero; head -c 100000 /dev/zero >&2", cap=6_000_000)
    assert (len(ran.stdout), len(ran.stderr), ran.truncated) == (5_000_000, 100_000, 0)


def test_large_output_keeps_both_ends(client: Client) -> None:
    ran = client.sh("seq 1 700000; head -c 100000 /dev/zero >&2")
    whole = "".join(f"{number}\n" for number in range(1, 700_001)).encode()
    half = 1 << 19
    assert ran.stdout == whole[:half] + whole[-half:]
    assert ran.truncated == len(whole) - 2 * half
    assert len(ran.stderr) == 100_000


@pytest.mark.parametrize("cap", [0, 1, 7, 10])
def test_small_caps(client: Client, cap: int) -> None:
    for before in ("", "sleep 0.05; "):
        ran = client.sh(f"{before}printf 0123456789", cap=cap)
        first, last = (cap + 1) // 2, cap // 2
        assert ran.stdout == b"0123456789"[:first] + b"0123456789"[10 - last :]
        assert ran.truncated == 10 - cap


def test_a_full_pipe_of_a_quick_step(client: Client) -> None:
    for size in (65_535, 65_536, 65_537, 131_072):
        assert len(client.sh(f"head -c {size} /dev/zero").stdout) == size


@pytest.mark.parametrize("command", ["sleep {0} | cat", "sleep {0} & sleep {0}", "setsid sleep {0}"])
def test_timeout(client: Client, nap: str, command: str) -> None:
    ran = client.sh("echo first; " + command.format(nap), timeout=0.4)
    assert ran.timed_out and ran.exit_code == 143 and ran.stdout == b"first\n"
    assert not alive(nap)
    assert ran.duration >= 0.4


def test_timeout_shorter_than_a_quick_step(client: Client, nap: str) -> None:
    ran = client.run("sleep", nap, timeout=0.001)
    assert ran.timed_out and not alive(nap)


def test_what_ignores_sigterm_is_killed_after_the_grace(client: Client, nap: str) -> None:
    ran = client.sh(f"trap '' TERM; sleep {nap} & sleep {nap}; sleep {nap}", timeout=0.4, grace=0.2)
    assert ran.timed_out and ran.exit_code == 137
    assert not alive(nap)


def test_what_is_stopped_is_ended(client: Client, nap: str) -> None:
    ran = client.sh(f"sleep {nap} & kill -STOP $!; wait", timeout=0.4)
    assert ran.timed_out and not alive(nap)


def test_sigterm_lets_a_step_clean_up(client: Client, tmp_path: Path, nap: str) -> None:
    mark = tmp_path / "cleaned"
    ran = client.sh(f"trap 'echo bye; touch {mark}; exit 9' TERM; sleep {nap} & wait", timeout=0.4)
    assert ran.timed_out and ran.exit_code == 9 and ran.stdout == b"bye\n"
    assert mark.exists() and not alive(nap)


ESCAPES = {
    "group": "sleep {0} >/dev/null 2>&1 &",
    "session": "setsid sleep {0} >/dev/null 2>&1 &",
    "double fork": "(setsid sh -c 'sleep {0} & exit 0' >/dev/null 2>&1 &)",
    "empty environment": "env -i setsid sleep {0} >/dev/null 2>&1 &",
    "double fork, empty environment": "(env -i setsid sh -c 'sleep {0} & exit 0' >/dev/null 2>&1 &)",
    "keeps the pipe": "sleep {0} &",
    "keeps the pipe, session": "setsid sleep {0} &",
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.parametrize("before", ["", "sleep 0.05; "], ids=["quick", "long"])
def test_descendants_end_with_the_step(client: Client, nap: str, before: str, escape: str) -> None:
    ran = client.sh(f"{before}{escape.format(nap)}\necho done")
    assert (ran.exit_code, ran.stdout, ran.error) == (0, b"done\n", "")
    assert not alive(nap)
    assert ran.duration < 3
    assert client.ask("children") == []


def test_a_quick_helper_may_end_by_itself(client: Client) -> None:
    assert client.sh("(sleep 0.06; echo late) & echo soon").stdout == b"soon\nlate\n"


def test_a_neighbour_keeps_its_descendants(client: Client, nap: str, tmp_path: Path) -> None:
    """Orphans without session, marker or pipe belong to a task that ran when they started."""
    hide = f"(env -i setsid sh -c 'sleep {nap} & echo $! >{tmp_path}/pid' >/dev/null 2>&1)"
    hold = f"until [ -e {tmp_path}/over ]; do sleep 0.02; done; sleep 0.3; kill -0 $(cat {tmp_path}/pid) && echo there"
    over = f"sleep 0.05; touch {tmp_path}/over"
    long = {"argv": ["/bin/sh", "-c", f"{hide}; {hold}"], "token": f"{nap}.long"}
    short = {"argv": ["/bin/sh", "-c", over], "token": f"{nap}.short"}
    first, second = client.together(long, short)
    assert (first.exit_code, first.stdout, second.exit_code) == (0, b"there\n", 0)
    assert not alive(nap)
    together = [{**long, "argv": [*long["argv"][:2], hold]}, {**short, "argv": [*short["argv"][:2], f"{hide}; {over}"]}]
    client.together(*together)
    assert not alive(nap)


def test_detached_survives(client: Client, nap: str) -> None:
    line = f"sleep {nap} & setsid sleep {nap} & exec sleep {nap}"
    ran = client.sh(line, detach=True, token=f"{nap}.loose")
    assert ran.exit_code == 0 and not ran.error
    wait_until(lambda: len(alive(nap)) == 3, "all run", every=0.005)
    assert client.sh("setsid true & exit 0").exit_code == 0
    assert client.sh("sleep 0.05").exit_code == 0
    left = set(alive(nap)) - {ran.pid}
    assert len(left) == 2
    os.kill(ran.pid, signal.SIGKILL)
    wait_until(lambda: client.ask("pause", 0.01) or ran.pid not in alive(nap), "it is gone", every=0.005)
    assert client.sh("true").exit_code == 0
    assert client.sh("sleep 0.05").exit_code == 0
    assert set(alive(nap)) == left
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: client.ask("children") == [], "no zombies", every=0.005)


def test_detached_that_cannot_start(client: Client) -> None:
    assert client.run("no-such-program", detach=True).exit_code == 127


def test_cancel(client: Client, tmp_path: Path, nap: str) -> None:
    fields = {"argv": ["/bin/sh", "-c", f"echo in; touch {tmp_path}/in; sleep {nap} & sleep {nap}"]}
    ran = Ran.read(client.ask("cancel_at", fields, f"{tmp_path}/in"))
    assert ran.cancelled and not ran.timed_out and ran.exit_code == 143 and ran.stdout == b"in\n"
    assert not alive(nap)


def test_cancel_before_the_start(client: Client, tmp_path: Path) -> None:
    ran = Ran.read(client.ask("cancel_early", {"argv": ["touch", f"{tmp_path}/made"]}))
    assert ran.cancelled and ran.pid == 0 and not (tmp_path / "made").exists()


def test_killed_greenlet(client: Client, tmp_path: Path, nap: str) -> None:
    fields = {"argv": ["/bin/sh", "-c", f"touch {tmp_path}/in; setsid sleep {nap} & sleep {nap}"]}
    assert client.ask("kill_at", fields, f"{tmp_path}/in")
    assert not alive(nap)
    assert client.ask("children") == []


def test_a_greenlet_killed_again_does_not_wait(client: Client, tmp_path: Path, nap: str) -> None:
    line = f"trap '' TERM; setsid sleep {nap} & touch {tmp_path}/in; sleep {nap}"
    fields = {"argv": ["/bin/sh", "-c", line], "grace": 600.0}
    assert client.ask("kill_twice", fields, f"{tmp_path}/in") < 300
    wait_until(lambda: not alive(nap) and client.ask("children") == [], "all gone", every=0.005)


def test_eight_at_once(client: Client, nap: str) -> None:
    specs = [
        {"argv": ["/bin/sh", "-c", f"setsid sleep {nap} & sleep 0.0{n}; echo {n}; exit {n}"], "token": f"eight.{n}"}
        for n in range(8)
    ]
    for n, ran in enumerate(client.together(*specs)):
        assert (ran.exit_code, ran.stdout, ran.error) == (n, f"{n}\n".encode(), "")
    assert not alive(nap)


def test_descriptors_are_given_back(client: Client) -> None:
    client.run("true")
    before, after = client.ask("again", 200, {"argv": ["/bin/true"]})
    assert before == after
    assert client.ask("children") == []


def test_leftovers_of_a_client_that_died(client: Client, nap: str) -> None:
    dead = Client()
    lines = [f"sleep {nap} & setsid sleep {nap} & env -i sleep {nap}", f"sleep {nap}9"]
    specs = [{"argv": ["/bin/sh", "-c", line], "token": f"{nap}.{n}"} for n, line in enumerate(lines)]
    dead.send("run", *specs)
    wait_until(lambda: len(alive(nap)) == 3 and alive(f"{nap}9"), "all run", every=0.005)
    dead.popen.kill()
    dead.stop()
    assert client.ask("end_leftovers", f"{nap}.0") == 4
    assert not alive(nap) and alive(f"{nap}9")
    assert client.ask("end_leftovers", f"{nap}.1") >= 1
    assert not alive(f"{nap}9")
    assert client.ask("end_leftovers", f"{nap}.1") == client.ask("end_leftovers") == 0


HIDDEN = "(env -i setsid sh -c 'sleep {0} & sleep {0}' &) >/dev/null 2>&1"


@dataclass
class Clients:
    """Clients of one state folder: its note, and two cgroups in which they are started."""

    note: Path
    name: str
    first: Path
    second: Path

    def start(self, parent: Path | None) -> Client:
        one = Client()
        if parent is not None:
            assert one.ask("children") == []  # it runs
            (parent / "cgroup.procs").write_text(str(one.popen.pid))
        return one

    def enter(self, one: Client, end: bool = False) -> tuple[int, bool, str]:
        ended, entered, where = one.ask("enter_cgroup", str(self.note), self.name, end)
        return ended, entered, where


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    """Its cgroups are removed at the end; where none can be made the folders do not exist."""
    name = f"director-test-{os.getpid()}-{next(_count)}"
    top = own_cgroup() or tmp_path / "none"
    made = Clients(tmp_path / "cgroup", name, top / f"{name}.1", top / f"{name}.2")
    parents = (made.first, made.second) if own_cgroup() else ()
    for parent in parents:
        parent.mkdir()
    yield made
    for parent in parents:
        remove_cgroup(parent / name)
        remove_cgroup(parent)


def test_what_a_dead_client_left_is_found_by_its_cgroup(clients: Clients, nap: str) -> None:
    """Also a process with its own session and a cleared environment, and also from another cgroup."""
    there = own_cgroup() is not None
    dead, loose = clients.start(clients.first if there else None), f"{nap}9"
    ended, entered, where = clients.enter(dead)
    assert (ended, entered, where.endswith(f"/{clients.name}/tasks")) == (0, there, there)
    command = f"{HIDDEN.format(loose)}; exec sleep {loose}"
    assert dead.run("/bin/sh", "-c", command, detach=True).error == ""
    assert dead.run("no-such-program", detach=True).exit_code == 127
    dead.send("run", {"argv": ["/bin/sh", "-c", f"{HIDDEN.format(nap)}; exec sleep {nap}"]})
    wait_until(lambda: (len(alive(nap)), len(alive(loose))) == (3, 3), "all run", every=0.005)
    dead.popen.kill()
    dead.stop()
    back = clients.start(clients.second if there else None)
    ended, entered, where = clients.enter(back, True)
    assert entered is there and len(alive(loose)) == 3, "what --no-block started goes on"
    if not there:  # only its marker could identify it, and it has none
        assert ended == 0 and len(alive(nap)) == 3
    else:
        assert ended >= 4 and not alive(nap)
        assert where.endswith(f"/{clients.second.name}/{clients.name}/tasks")
        assert {child.name for child in (clients.first / clients.name).iterdir() if child.is_dir()} == {"loose"}
        assert back.sh("exit 3").exit_code == 3
        assert back.ask("leave_cgroup").endswith(f"/{clients.second.name}")
        assert not (clients.second / clients.name).exists()
    back.stop()
    for pid in [*alive(loose), *alive(nap)]:
        os.kill(pid, signal.SIGKILL)


if own_cgroup():  # elsewhere clients have none; the test above covers that

    def test_a_client_that_a_task_starts_takes_the_same_cgroup(clients: Clients) -> None:
        dead = clients.start(clients.first)
        place = clients.enter(dead)[2]
        back = clients.start(clients.first / clients.name / "loose")
        dead.popen.kill()
        dead.stop()
        assert clients.enter(back, True) == (0, True, place)
        assert back.ask("leave_cgroup").endswith(f"/{clients.first.name}")
        back.stop()

    def test_a_copied_note_ends_nothing_of_the_client_it_names(clients: Clients, nap: str) -> None:
        one, copy = clients.start(clients.first), clients.start(clients.first)
        clients.enter(one)
        one.send("run", {"argv": ["sleep", nap]})
        wait_until(lambda: alive(nap), "it runs", every=0.005)
        ended, entered, where = copy.ask("enter_cgroup", str(clients.note), f"{clients.name}.copy", True)
        assert (ended, entered, len(alive(nap))) == (0, True, 1) and where.endswith(".copy/tasks")
        copy.ask("leave_cgroup")
        copy.stop()
        one.popen.kill()
        one.stop()

    def test_what_cannot_be_kept_apart_is_spared_by_giving_the_cgroup_up(clients: Clients, nap: str) -> None:
        dead = clients.start(clients.first)
        clients.enter(dead)
        assert dead.ask("no_loose", "no/such/cgroup") and not clients.note.exists()
        assert dead.sh(HIDDEN.format(nap), detach=True).error == ""
        wait_until(lambda: len(alive(nap)) == 2, "all run", every=0.005)
        dead.popen.kill()
        dead.stop()
        back = clients.start(clients.first)
        ended, entered, where = clients.enter(back, True)
        assert (ended, entered, where.endswith(clients.first.name)) == (0, False, True), "nor is it used by the next"
        assert len(alive(nap)) == 2 and not clients.note.exists()
        back.stop()


def test_a_cgroup_is_found_wherever_the_tree_is_mounted(tmp_path: Path) -> None:
    top = tmp_path / "a b"
    (top / "in").mkdir(parents=True)
    escaped = str(top).replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "30 1 0:9 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "31 1 0:8 / /no/such/place rw shared:4 - cgroup2 cgroup2 rw\n"
        f"32 1 0:8 /box/1 {escaped} rw shared:4 - cgroup2 cgroup2 rw\n"
    )
    assert cgroup._mounted("/box/1/x", str(mounts)) == f"{top}/x"
    assert cgroup._mounted("/box/1/in/x", str(mounts)) == f"{top}/in/x"
    for path in ("/box/1/out/x", "/box/12/x", "/x"):
        with pytest.raises(OSError, match="no cgroup v2"):
            cgroup._mounted(path, str(mounts))


@pytest.fixture
def old_kernel(client: Client) -> Iterator[None]:
    """The client finds neither pidfds nor the list of its children."""
    client.ask("old_kernel", True)
    yield
    client.ask("old_kernel", False)


@pytest.mark.usefixtures("old_kernel")
def test_old_kernels(client: Client, nap: str) -> None:
    assert client.sh("echo x; exit 4").stdout == b"x\n"
    ran = client.sh(f"setsid sleep {nap} & sleep {nap} | cat", timeout=0.1, token=f"{nap}.old")
    assert ran.timed_out and not alive(nap)
    escapes = f"setsid sleep {nap} & env -i sleep {nap} & (setsid sh -c 'sleep {nap} &') & exit 7"
    assert client.sh(escapes, token=f"{nap}.old").exit_code == 7
    assert not alive(nap)


LAUNCH = Path(__file__).parents[2] / "director/process/exec_as.py"
NOBODY = 65534
OTHER: dict[str, Any] = {"uid": NOBODY, "gid": NOBODY, "groups": [NOBODY, 4321]}


BECOME_ROOT = f"""
import os, pwd, sys
with open(sys.argv[1]) as file:
    code = compile(file.read(), sys.argv[1], "exec")
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
sys.argv[:] = ["launch", "0", "0", "-", "", "1", "--", "true"]
exec(code, {{"__name__": "__main__"}})
"""


def test_who_may_not_become_another_user_is_told() -> None:
    command = [sys.executable, "-I", "-S", "-c", BECOME_ROOT, str(LAUNCH)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (126, b"may not become user 0: Operation not permitted")


if os.geteuid() == 0:  # only root can

    def test_identity_of_another_user(client: Client) -> None:
        ran = client.sh("id -u; id -g; id -G; pwd", cwd="/tmp", **OTHER)
        uid, gid, groups, cwd = ran.stdout.decode().splitlines()
        assert (uid, gid, cwd) == (str(NOBODY), str(NOBODY), "/tmp")
        assert set(groups.split()) == {str(NOBODY), "4321"}

    def test_groups_of_the_user_database(client: Client) -> None:
        name = subprocess.run(["id", "-un", str(NOBODY)], capture_output=True, text=True, check=True).stdout.strip()
        whole = subprocess.run(["id", name], capture_output=True, check=True).stdout
        assert client.run("id", uid=NOBODY).stdout == whole

    def test_another_user_has_the_environment_as_given(client: Client) -> None:
        ran = client.run("env", env={"PATH": os.defpath, "A": "1"}, token="other", **OTHER)
        assert set(ran.stdout.split()) == {f"PATH={os.defpath}".encode(), b"A=1", b"DIRECTOR_TASK=other"}
        assert client.sh("ls /proc/self/fd; umask", **OTHER).stdout == b"0\n1\n2\n3\n0022\n"

    def test_another_user_fails_to_start(client: Client, tmp_path: Path) -> None:
        ran = client.run("no-such-program", **OTHER)
        assert (ran.exit_code, ran.error, ran.stderr) == (127, "no such program: no-such-program", b"")
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        ran = client.sh("true", cwd=str(closed), **OTHER)
        assert (ran.exit_code, ran.error) == (126, f"working folder {closed}: Permission denied")

    def test_another_user_is_ended_too(client: Client, nap: str) -> None:
        ran = client.sh(f"setsid sleep {nap} & sleep {nap}", timeout=0.3, **OTHER)
        assert ran.timed_out and not alive(nap)
