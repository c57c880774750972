"""Paths of state folders and sockets, and the socket as a file."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from director.errors import NoServerError, NotPermittedError, StartError
from director.protocol import unix_socket
from director.runtime import paths


def test_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paths, "SYSTEM_STATE", str(tmp_path / "var/lib/director"))
    assert paths.state_dir(None, "server") == str(tmp_path / "var/lib/director")
    (tmp_path / "var").write_text("a file in the way")
    assert paths.state_dir(None, "server") == str(tmp_path / ".local/state/director")
    assert paths.state_dir("rel", "client") == os.path.abspath("rel")


def test_a_role_needs_its_own_sub_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    system = tmp_path / "var/lib/director"
    monkeypatch.setattr(paths, "SYSTEM_STATE", str(system))
    (system / "server").mkdir(parents=True)
    may_write = {str(system / "server")}
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) in may_write)  # root may write everywhere
    assert paths.state_dir(None, "server") == str(system)
    assert paths.state_dir(None, "client") == str(tmp_path / ".local/state/director")


def test_state_folder_is_private_whatever_the_umask_is(tmp_path: Path):
    before = os.umask(0)
    try:
        folder = paths.state_folder(str(tmp_path / "a/b"), "server")
        os.umask(0o777)
        paths.state_folder(str(tmp_path / "c"), "client")
    finally:
        os.umask(before)
    assert folder == str(tmp_path / "a/b/server")
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "c").st_mode) == 0o755
    os.chmod(folder, 0o755)
    paths.state_folder(str(tmp_path / "a/b"), "server")
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_a_state_folder_that_cannot_be_made_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="--state-dir"):
        paths.state_folder(str(tmp_path / "file"), "server")


def test_paths_of_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.sockets_to_try(None, None) == [
        "/run/director/director.sock",
        f"{tmp_path}/run/director/director.sock",
        "/var/lib/director/director.sock",
        f"{tmp_path}/.local/state/director/director.sock",
    ]
    assert paths.sockets_to_try(None, "/x")[-1] == "/x/director.sock"
    assert paths.sockets_to_try("rel.sock", "/x") == [os.path.abspath("rel.sock")]
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(tmp_path / "file/director.sock"))
    assert paths.sockets_to_offer(None, str(tmp_path)) == [f"{tmp_path}/director.sock"]


def test_the_server_listens_at_the_first_path_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(tmp_path / "sys/director.sock"))
    offered = paths.sockets_to_offer(None, str(tmp_path / "state"))
    with closing(unix_socket.listen(offered)) as first, closing(unix_socket.listen(offered)) as second:
        assert first.path == str(tmp_path / "sys/director.sock")
        assert second.path == str(tmp_path / "run/director/director.sock")


def test_endpoints():
    assert paths.endpoint("*", 5555) == paths.endpoint("all", 5555) == "tcp://*:5555"
    assert paths.endpoint("::1", 1) == "tcp://[::1]:1"
    assert paths.endpoint("10.0.0.1", 1) == "tcp://10.0.0.1:1"
    assert (paths.bind_host("*"), paths.bind_host("::")) == ("0.0.0.0", "::")


def test_listen_and_connect(tmp_path: Path):
    path = str(tmp_path / "new/director.sock")
    listener = unix_socket.listen([path])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    client = unix_socket.connect([str(tmp_path / "none"), path])
    server, _ = listener.sock.accept()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    for each in (client, server):
        each.close()
    listener.close()
    assert not os.path.exists(path)


def test_a_path_longer_than_the_kernel_takes(tmp_path: Path):
    path = str(tmp_path / ("d" * 100) / ("e" * 60) / "director.sock")
    listener = unix_socket.listen([path])
    assert stat.S_ISSOCK(os.lstat(path).st_mode)
    unix_socket.connect([path]).close()
    listener.close()
    with pytest.raises(StartError, match="too long"):
        unix_socket.listen([str(tmp_path / ("d" * 100) / ("n" * 120))])


def test_a_socket_left_behind_is_replaced_and_a_live_one_is_not(tmp_path: Path):
    path = str(tmp_path / "s")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    with pytest.raises(NoServerError, match="is `director --server` running"):
        unix_socket.connect([path])
    first = unix_socket.listen([path])
    with pytest.raises(StartError, match="another server has it"):
        unix_socket.listen([path])
    second = unix_socket.listen([path, str(tmp_path / "other")])
    assert second.path == str(tmp_path / "other")
    unix_socket.connect([path]).close()
    first.close()
    second.close()


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(StartError, match="no socket is in the way"):
        unix_socket.listen([str(path)])
    assert path.read_text() == "precious"


def test_an_unknown_group_is_an_error(tmp_path: Path):
    with pytest.raises(StartError, match="there is no group 'nosuchgroup'"):
        unix_socket.listen([str(tmp_path / "s")], "nosuchgroup")


def test_a_socket_without_permission_is_an_error(tmp_path: Path):
    listener = unix_socket.listen([str(tmp_path / "closed/s")])
    os.chmod(tmp_path / "closed", 0)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            unix_socket.connect([str(tmp_path / "closed/s")])
        except NotPermittedError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    os.chmod(tmp_path / "closed", 0o755)
    listener.close()
