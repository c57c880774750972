"""COPY and ADD with real files: what they write, what they keep and what they refuse."""

from __future__ import annotations

import http.server
import io
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from special_files import left_as_made, make_special
from verb_node import Fleet, drive, sha, step_of

from director import verbs
from director.errors import LanguageError, VerbError
from director.states import CACHED, SUCCESS
from director.transfer.safe_write import Folder
from director.verbs import load
from director.verbs.base import Outcome

Do = Callable[..., Outcome]
ROOT = os.geteuid() == 0


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def tree(here: Path) -> Path:
    """app.conf (0640), bin/ with run (0755), sub/ (0750) with x.bak and deep/y, a link."""
    (here / "app.conf").write_text("port=80\n")
    (here / "app.conf").chmod(0o640)
    folder = here / "bin"
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    (folder / "sub/x.bak").write_text("x")
    (folder / "sub/deep/y").write_text("y" * 3_000_000)
    (folder / "sub").chmod(0o750)
    (folder / "link").symlink_to("run")
    return here


def test_file_then_cached(do: Do, tree: Path, there: Path, node: Any) -> None:
    outcome = do("COPY app.conf /" + str(there / "new/deep/"))
    assert (outcome.state, outcome.stdout) == (SUCCESS, f"{there}/new/deep".encode())
    place = there / "new/deep"
    assert place.read_text() == "port=80\n"
    assert (mode_of(place), place.stat().st_uid) == (0o640, os.geteuid())
    assert mode_of(there / "new") == 0o755
    inode = place.stat().st_ino
    node.fetched.clear()
    assert do(f"COPY app.conf {place}").state == CACHED
    assert (place.stat().st_ino, node.fetched) == (inode, [])


def test_only_what_differs_changes(do: Do, tree: Path, there: Path, node: Any) -> None:
    place = there / "app.conf"
    do("COPY app.conf .")
    inode = place.stat().st_ino
    node.fetched.clear()
    place.chmod(0o600)
    outcome = do("COPY app.conf .")
    assert (outcome.state, outcome.stderr.decode()) == (SUCCESS, f"{place}: mode 0600 becomes 0640\n")
    assert (mode_of(place), place.stat().st_ino, node.fetched) == (0o640, inode, [])
    place.write_text("port=81\n")
    outcome = do("COPY app.conf .")
    assert (outcome.state, outcome.stderr.decode()) == (SUCCESS, f"{place}: its content\n")
    assert do("COPY app.conf .").stderr == b""
    assert (place.read_text(), place.stat().st_ino != inode) == ("port=80\n", True)
    assert os.listdir(there) == ["app.conf"]


@pytest.mark.parametrize(
    ("dest", "made", "place"),
    [
        ("d/", "", "d/app.conf"),
        ("d", "", "d"),
        ("d", "d/", "d/app.conf"),
        (".", "", "app.conf"),
        ("./x/../d/", "", "d/app.conf"),
        ('"with blank"/', "", "with blank/app.conf"),
        ("$WHERE/a", "", "w x/a"),
        ("{{ node.id }}/", "", "web-01/app.conf"),
    ],
)
def test_destinations(dest: str, made: str, place: str, do: Do, tree: Path, there: Path, node: Any) -> None:
    node.scope.env["WHERE"] = "w x"
    if made:
        (there / made).mkdir()
    if " " in dest:
        dest = dest.replace('"with blank"', "with_blank")
        place = place.replace(" ", "_")
    outcome = do(f"COPY app.conf {dest}")
    assert outcome.stdout == str(there / place).encode()
    assert (there / place).read_text() == "port=80\n"


def test_a_dry_run_names_the_changes_of_the_run(do: Do, tree: Path, there: Path, node: Any) -> None:
    do("COPY bin opt")
    (there / "opt/run").chmod(0o600)
    (there / "opt/link").unlink()
    shutil.rmtree(there / "opt/sub")
    before = sorted(there.rglob("*"))
    step = step_of("COPY bin opt", tree, node.blobs)
    foreseen = load("COPY").foresee(step["body"], step["flags"], node)
    assert foreseen is not None and sorted(there.rglob("*")) == before
    said = foreseen.stderr.decode().splitlines()
    diff = ["--- /dev/null", f"+++ {there}/opt/sub/x.bak", "@@ -0,0 +1 @@", "+x"]
    assert set(diff) < set(said)
    said = [f"{there}/opt/sub/x.bak: a new file" if line == diff[0] else line for line in said if line not in diff[1:]]
    ran = do("COPY bin opt").stderr.decode().splitlines()
    assert [line.partition(" of ")[0] for line in said] == ran


def test_json_form_has_blanks(do: Do, here: Path, there: Path) -> None:
    (here / "a b").write_text("1")
    do('COPY ["a b", "c d/"]')
    assert (there / "c d/a b").read_text() == "1"


def test_folder(do: Do, tree: Path, there: Path) -> None:
    outcome = do("COPY bin /" + str(there / "opt"))
    lines = outcome.stdout.decode().splitlines()
    assert lines == [str(there / "opt" / name) for name in ("link", "run", "sub/x.bak", "sub/deep/y")]
    assert outcome.stderr == b"", "all of it is new"
    assert os.readlink(there / "opt/link") == "run"
    assert (mode_of(there / "opt/run"), mode_of(there / "opt/sub")) == (0o755, 0o750)
    assert (there / "opt/sub/deep/y").stat().st_size == 3_000_000
    assert do("COPY bin opt/").state == CACHED
    (there / "opt/sub").chmod(0o700)
    assert do("COPY bin opt").state == SUCCESS
    assert mode_of(there / "opt/sub") == 0o750
    (there / "opt/link").unlink()
    (there / "opt/link").symlink_to("other")
    shutil.rmtree(there / "opt/sub")
    outcome = do("COPY bin opt")
    assert (outcome.state, os.readlink(there / "opt/link")) == (SUCCESS, "run")
    assert outcome.stderr.decode().splitlines() == [
        f"{there}/opt/link: a link to run",
        f"{there}/opt/sub/: a new folder",
        f"{there}/opt/sub/deep/: a new folder",
        f"{there}/opt/sub/x.bak: a new file",
        f"{there}/opt/sub/deep/y: a new file",
    ]


def test_folder_that_is_there_keeps_its_mode(do: Do, tree: Path, there: Path) -> None:
    (there / "opt").mkdir(mode=0o700)
    do("COPY bin opt")
    assert mode_of(there / "opt") == 0o700


def test_exclude_parents_and_globs(do: Do, tree: Path, there: Path) -> None:
    do("COPY --exclude=**/*.bak --exclude=sub/deep bin a/")
    assert sorted(os.listdir(there / "a/sub")) == []
    do("COPY --parents bin/./sub/x.bak bin/sub/x.bak b/")
    assert (there / "b/sub/x.bak").exists() and (there / "b/bin/sub/x.bak").exists()
    do("COPY bin/r* c/")
    assert os.listdir(there / "c") == ["run"]
    (tree / ".hidden").write_text("")
    do("COPY * d/", form="containerfile")
    assert sorted(os.listdir(there / "d")) == [".hidden", "app.conf"]
    do("- jobs:\n  - COPY: '* e/'\n")
    assert os.listdir(there / "e") == ["app.conf"]


def test_values_are_no_globs(do: Do, here: Path, there: Path) -> None:
    (here / "a*").write_text("star")
    (here / "ab").write_text("b")
    do("ARG X=a*\nCOPY $X* d/", args={"X": "a*"})
    assert os.listdir(there / "d") == ["a*"]


def test_several_need_a_folder(do: Do, tree: Path, there: Path, node: Any) -> None:
    node.scope.env["D"] = "dest"
    with pytest.raises(VerbError, match="several sources need a destination that ends in /, not dest"):
        do("COPY app.conf bin/run $D")
    (tree / "bin/run2").write_text("")
    with pytest.raises(LanguageError, match="several sources need"):
        do("COPY bin/run* dest")


def test_modes_and_owners(do: Do, tree: Path, there: Path) -> None:
    do("COPY --chmod=0444 bin a")
    assert (mode_of(there / "a/run"), mode_of(there / "a/sub"), mode_of(there / "a")) == (0o444, 0o555, 0o555)
    do("COPY --chmod=go=,u+X bin b")
    assert (mode_of(there / "b/run"), mode_of(there / "b/sub")) == (0o700, 0o700)
    with pytest.raises(VerbError, match="no user nobody-here"):
        do("COPY --chown=nobody-here app.conf c")


def test_chown(do: Do, tree: Path, there: Path) -> None:
    uid, gid = (1234, 5678) if ROOT else (os.geteuid(), os.getegid())
    assert do(f"COPY --chown={uid}:{gid} bin x/y").state == SUCCESS
    for name in ("x", "x/y", "x/y/run", "x/y/link"):
        status = (there / name).lstat()
        assert (status.st_uid, status.st_gid) == (uid, gid)
    assert do(f"COPY --chown={uid}:{gid} bin x/y").state == CACHED
    os.chown(there / "x/y/run", os.geteuid(), os.getegid())
    assert do(f"COPY --chown={uid}:{gid} bin x/y").state == (SUCCESS if ROOT else CACHED)
    assert (there / "x/y/run").stat().st_uid == uid
    assert mode_of(there / "x/y/run") == 0o755


def test_heredocs(do: Do, there: Path, node: Any) -> None:
    node.scope.env["NAME"] = "$(x) 'q'"
    outcome = do("COPY <<a <<'b' d/\n\"$NAME\" \\n \\$NAME {{ node.id }}\na\n$NAME {{ x\nb")
    assert outcome.stdout.decode().splitlines() == [f"{there}/d/a", f"{there}/d/b"]
    assert (there / "d/a").read_text() == "\"$(x) 'q'\" \\n $NAME web-01\n"
    assert (there / "d/b").read_text() == "$NAME {{ x\n"
    assert mode_of(there / "d/a") == 0o644
    do("COPY <<-EOF one\n\t\ttabs\nEOF")
    assert (there / "one").read_text() == "tabs\n"


def test_blueprint(do: Do, here: Path, there: Path) -> None:
    (here / "motd").write_text("{{ node.id }} $HOME '{{ 1 + 1 }}'\n")
    assert do("COPY --blueprint motd .").state == SUCCESS
    assert (there / "motd").read_text() == "web-01 $HOME '2'\n"
    assert do("COPY --blueprint motd .").state == CACHED
    (here / "motd").write_bytes(b"\xff{{ x }}")
    with pytest.raises(VerbError, match="UTF-8"):
        do("COPY --blueprint motd .")


def test_sources_by_node(here: Path, node: Any, there: Path) -> None:
    for name in ("web-01", "web-02", "arm-1"):
        (here / f"{name}.conf").write_text(name if name != "arm-1" else "web-02")
    plan = drive("COPY {{ node.id }}.conf a", here, node.blobs, Fleet(web_01=True, web_02=True))
    body = plan.steps[0].row["body"]
    assert body["per_node"]["of"] == {"web-01": 0, "web-02": 1}
    load("COPY").apply(body, {}, node)
    assert (there / "a").read_text() == "web-01"
    (sets,) = plan.contents[0]
    lists = {one["manifest"]["digest"] for one in body["per_node"]["sets"]}
    assert len(lists) == 2 and set(plan.digests) == {sets, *lists, sha(b"web-01"), sha(b"web-02")}
    plan = drive("COPY {{ facts.hostname }}.conf a", here, node.blobs, Fleet(web_01=True))
    assert list(plan.digests)[1] == sha(b"web-01")


@pytest.mark.slow
def test_many_sources_travel_as_a_content(here: Path, there: Path, node: Any, do: Do) -> None:
    (here / "many").mkdir()
    for number in range(1100):
        (here / f"many/{number}").write_text(str(number % 3))
    row = step_of("COPY many d", here, node.blobs)
    assert set(row["body"]) == {"dest", "count", "manifest"}
    assert do("COPY many d").stdout.count(b"\n") == 1099
    assert (there / "d/1001").read_text() == "2"
    assert do("COPY many d").state == CACHED


@pytest.mark.parametrize(
    ("before", "text", "says"),
    [
        ("file", "COPY app.conf file/x", "file: not a folder"),
        ("file", "COPY app.conf file/", "file: not a folder"),
        ("file", "COPY bin file", "file: not a folder"),
        ("folder/app.conf/", "COPY app.conf folder/", "folder/app.conf: is a folder"),
        ("folder/link/", "COPY bin folder/", "folder/link: is a folder"),
        ("", "COPY app.conf /proc/1/nope/x", "/proc/1/nope: "),
        ("", "COPY app.conf $EMPTY", "came out empty"),
    ],
)
def test_refusals(before: str, text: str, says: str, do: Do, tree: Path, there: Path) -> None:
    if before.endswith("/"):
        (there / before).mkdir(parents=True)
    elif before:
        (there / before).write_text("old")
    with pytest.raises(VerbError, match=says):
        do(text)
    if before == "file":
        assert (there / "file").read_text() == "old"


def test_a_link_is_replaced_not_followed(do: Do, tree: Path, there: Path) -> None:
    (there / "target").write_text("keep")
    (there / "app.conf").symlink_to("target")
    do("COPY app.conf .")
    assert not (there / "app.conf").is_symlink()
    assert (there / "target").read_text() == "keep"


@pytest.mark.parametrize("moment", ["fetch", "breathe"])
def test_a_failed_transfer_leaves_the_old_file(
    moment: str, do: Do, tree: Path, there: Path, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> str:
        raise VerbError("the server is gone")

    (there / "y").write_text("old")
    monkeypatch.setattr(node, "blob" if moment == "fetch" else "breathe", stop)
    with pytest.raises(VerbError, match="the server is gone"):
        do("COPY bin/sub/deep/y .")
    assert (there / "y").read_text() == "old"
    assert os.listdir(there) == ["y"]


def test_a_hostile_body_cannot_leave(node: Any, there: Path, here: Path) -> None:
    (here / "a").write_text("a")
    row = step_of("COPY a d/", here, node.blobs)
    for index, bad in ((1, "../x"), (1, "/etc/x"), (6, "../x"), (6, ".."), (1, "a/../../x")):
        body = {**row["body"], "sources": [list(row["body"]["sources"][0])]}
        body["sources"][0][index] = bad
        with pytest.raises(VerbError):
            load("COPY").apply(body, {}, node)
    assert not (there / "x").exists()


# -- ADD --------------------------------------------------------------------------------------------------


def pack(path: Path, *members: tuple[str, Any], kind: str = "w:gz") -> None:
    """A tar archive: names with content (bytes), None for a folder, text for a link's target."""
    with tarfile.open(path, kind) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o4755
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o750
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            elif isinstance(content, tuple):
                info.type, info.linkname = content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz"])
def test_add_unpacks(kind: str, do: Do, here: Path, there: Path) -> None:
    pack(here / "a.bin", ("d", None), ("d/f", b"one"), ("./l", "d/f"), ("h", (tarfile.LNKTYPE, "d/f")), kind=kind)
    outcome = do("ADD a.bin out")
    assert (outcome.state, outcome.stdout) == (SUCCESS, str(there / "out").encode())
    assert (there / "out/d/f").read_bytes() == (there / "out/h").read_bytes() == b"one"
    assert (mode_of(there / "out/d"), mode_of(there / "out/d/f")) == (0o750, 0o755)
    assert os.readlink(there / "out/l") == "d/f"
    assert do("ADD a.bin out/").state == CACHED
    (there / "out/d/f").write_bytes(b"two")
    assert do("ADD a.bin out").state == SUCCESS
    assert do("ADD --unpack=false a.bin raw").stdout == str(there / "raw").encode()
    assert (there / "raw").read_bytes() == (here / "a.bin").read_bytes()


def test_add_leaves_other_files_alone(do: Do, here: Path, there: Path) -> None:
    (here / "plain").write_text("text")
    (here / "empty").write_text("")
    (here / "zeros").write_bytes(bytes(1024))
    do("ADD plain empty zeros d/")
    assert sorted(os.listdir(there / "d")) == ["empty", "plain", "zeros"]
    (here / "tree").mkdir()
    pack(here / "tree/t.tar", ("f", b"1"), kind="w")
    do("ADD tree e/")
    assert os.listdir(there / "e") == ["t.tar"]


@pytest.mark.parametrize(
    "members",
    [
        [("ok", b"1"), ("../evil", b"2")],
        [("ok", b"1"), ("d/../../evil", b"2")],
        [("fifo", (tarfile.FIFOTYPE, ""))],
        [("null", (tarfile.CHRTYPE, ""))],
        [("l", ".."), ("l/evil", b"2")],
        [("l", "/tmp"), ("l/../evil", b"2")],
        [("a", "."), ("b", "a/.."), ("b/evil", b"2")],
        [("l", ".."), ("l", None), ("l/evil", b"1")],
        [("h", (tarfile.LNKTYPE, "/etc/passwd"))],
        [("h", (tarfile.LNKTYPE, "../secret"))],
    ],
)
def test_add_never_leaves_the_folder(members: list[Any], do: Do, here: Path, there: Path) -> None:
    pack(here / "a.tar", *members, kind="w")
    (there / "secret").write_text("s")
    with pytest.raises(VerbError, match=r"the archive|goes through a link that leaves .*/out$"):
        do("ADD a.tar out")
    assert not (there / "evil").exists()
    assert not any(path.is_file() and path.read_bytes() == b"s" for path in (there / "out").rglob("*"))


def test_add_absolute_names_stay_inside(do: Do, here: Path, there: Path) -> None:
    pack(here / "a.tar", ("/etc/f", b"1"), kind="w")
    do("ADD a.tar out")
    assert (there / "out/etc/f").read_bytes() == b"1"


def test_add_files_that_were_appended_anew(do: Do, here: Path, there: Path) -> None:
    again = [("a", b"old"), ("b", (tarfile.LNKTYPE, "c")), ("a", b"newer"), ("d", "a"), ("d", b"file")]
    pack(here / "a.tar", ("c", b"1"), ("e", (tarfile.LNKTYPE, "c")), ("f", (tarfile.LNKTYPE, "e")), *again, kind="w")
    assert do("ADD a.tar x").state == SUCCESS
    found = {path.name: path.read_text() for path in (there / "x").iterdir()}
    assert found == {"a": "newer", "b": "1", "c": "1", "d": "file", "e": "1", "f": "1"}
    pack(here / "a.tar", ("a", b"old"), ("a", b"newer"), kind="w")
    assert do("ADD a.tar x").state == CACHED
    pack(here / "a.tar", ("h", (tarfile.LNKTYPE, "h")), kind="w")
    with pytest.raises(VerbError, match="is a link to itself"):
        do("ADD a.tar x")


def test_a_folder_that_its_owner_may_not_write_into(
    do: Do, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an ordinary user: a folder gets its mode after its files are written, and is opened to change them."""
    modes: list[int] = []
    rename = os.rename

    def renamed(old: str, new: str, **folders: int) -> None:
        modes.append((there / "d/closed").stat().st_mode & 0o777)
        rename(old, new, **folders)

    text = f"COPY --chown={os.getuid()}:{os.getgid()} d d"
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() or 1000)
    monkeypatch.setattr("os.rename", renamed)
    (here / "d/closed").mkdir(parents=True)
    (here / "d/closed/f").write_text("1")
    (here / "d/closed").chmod(0o555)
    assert do(text).state == SUCCESS
    assert do(text).state == CACHED
    (here / "d/closed/f").write_text("2")
    assert do(text).state == SUCCESS
    assert modes == [0o755, 0o755]
    assert (there / "d/closed").stat().st_mode & 0o777 == 0o555
    (there / "d/closed").chmod(0o755)  # so that everybody can clean up
    (here / "d/closed").chmod(0o755)


def test_a_file_that_may_not_be_read_is_written_anew(
    do: Do, tree: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert do("COPY --chmod=0 app.conf f").state == SUCCESS

    def refuse(folder: Folder, name: str) -> int:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(Folder, "read", refuse)  # root may read everything
    inode = (there / "f").stat().st_ino
    assert do("COPY --chmod=0 app.conf f").state == SUCCESS
    assert (there / "f").stat().st_ino != inode


def test_add_damaged(do: Do, here: Path, there: Path) -> None:
    pack(here / "a.tgz", ("f", os.urandom(100_000)), ("g", b"1"))
    data = (here / "a.tgz").read_bytes()
    (here / "a.tgz").write_bytes(data[: len(data) // 2])
    with pytest.raises(VerbError, match="the archive cannot be read"):
        do("ADD a.tgz out")
    assert not (there / "out").exists()


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    """A URL (`/x.bin` has 3 MB, `/gone` is 404, `/out` redirects to a file), and the paths that were requested."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = b"z" * 3_000_000 if self.path.startswith("/x.bin") else b""
            self.send_response({"/gone": 404, "/out": 302}.get(self.path, 200))
            self.send_header("Content-Length", str(len(content) + (self.path == "/x.bin?short")))
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_add_address(do: Do, there: Path, site: tuple[str, list[str]]) -> None:
    url, asked = site
    checksum = sha(b"z" * 3_000_000)
    do(f"ADD {url}/x.bin d/\nADD {url}/x.bin e")
    assert asked == ["/x.bin"]
    assert (there / "d/x.bin").read_bytes() == (there / "e").read_bytes() == b"z" * 3_000_000
    assert mode_of(there / "e") == 0o600
    assert do(f"ADD --chmod=0640 --checksum=sha256:{checksum} {url}/x.bin e").state == SUCCESS
    assert (mode_of(there / "e"), asked) == (0o640, ["/x.bin"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ADD URL/gone a", "answered 404"),
        ("ADD URL/out a", "is not allowed"),
        ("ADD --checksum=sha256:" + "0" * 64 + " URL/x.bin a", "holds sha256:"),
        ("ADD URL/x.bin?short a", "broke off"),
        ("ADD http://127.0.0.1:1/x a", "cannot be fetched: "),
    ],
)
def test_add_address_errors(text: str, says: str, do: Do, node: Any, site: tuple[str, list[str]]) -> None:
    with pytest.raises(LanguageError, match=says):
        do(text.replace("URL", site[0]))
    assert os.listdir(os.path.join(node.blobs.folder, "tmp")) == []


def test_copy_from_a_node(do: Do, here: Path, node: Any) -> None:
    fleet = Fleet(web_01=True, db=True)
    step = drive("COPY --from=db --exclude=x /a {{ node.id }} d/", here, node.blobs, fleet).steps[0]
    members = {"of": {"db": 0, "web-01": 1}}
    assert step.row["body"] == {"dest": "d/", "count": 2, "from": "db", "per_node": members}
    sets = [["/a", "db"], ["/a", "web-01"]]
    asked = {"kind": "copy", "from": "db", "sets": sets, "exclude": ["x"], "hidden": True, "parents": False}
    (sets,) = step.needed
    assert step.exchange == {**asked, "of": sets} and step.barrier
    entry = node.blobs.put_bytes(b"lent")
    node.lent = [{}, {"sources": [["file", "", 0o640, entry[1], entry[0], "", "a"]]}]
    verb = verbs.load("COPY")
    outcome = verb.apply(step.row["body"], {}, node)
    assert outcome.stdout.decode().endswith("d/a")
    assert Path(outcome.stdout.decode()).read_bytes() == b"lent"
    with pytest.raises(LanguageError, match="NOPE is not known when planning"):
        drive("COPY --from=db $NOPE d/", here, node.blobs, fleet)
    with pytest.raises(LanguageError, match="means 2 nodes"):
        drive("COPY --from=web-01,db /a d/", here, node.blobs, fleet)


def test_devices_fifos_and_sockets_are_not_replaced(do: Do, node: Any, here: Path, there: Path) -> None:
    """Not by a file, a heredoc, a link or a member of an archive; `--plan` says so too."""
    for path, said in make_special(there).items():
        before = list(left_as_made(there))
        (here / "app.conf").write_text("x")
        for kind in ("file", "link"):
            folder = here / f"{path.name}-{kind}"
            folder.mkdir()
            (folder / path.name).symlink_to("x") if kind == "link" else (folder / path.name).write_text("x")
            with tarfile.open(here / f"{folder.name}.tar", "w") as archive:
                archive.add(folder / path.name, path.name)
        texts = [f"COPY app.conf {path}", f"ADD app.conf {path}", f"COPY <<{path.name} ./\nx\n{path.name}"]
        texts += [f"{verb} {path.name}-{kind} {there}" for verb in ("COPY", "ADD") for kind in ("file", "link")]
        texts += [f"ADD {path.name}-{kind}.tar ." for kind in ("file", "link")]
        for text in texts:
            with pytest.raises(VerbError, match=f"^{path} is {said}, not a plain file$"):
                do(text)
            row = step_of(text, here, node.blobs)
            with pytest.raises(VerbError, match=f"^{path} is {said}, not a plain file$"):
                load(row["verb"]).foresee(row["body"], row["flags"], node)
        assert list(left_as_made(there)) == before
        with pytest.raises(VerbError, match=f"{path}: not a folder"):
            do(f"COPY app.conf {path}/")
