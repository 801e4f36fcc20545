import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.pipelines.commands.diagnosis import exposure
from headrace.pipelines.paths import ProjectPaths

LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder():
    """A folder that other users may enter, as homes often are; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="doors", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(autouse=True)
def _own_home(folder, monkeypatch):
    (folder / "home").mkdir()
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("RAY_AUTH_TOKEN_PATH", "HEADRACE_PORTS", "HEADRACE_ALLOW_OPEN_RAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))  # else dvc is called


@pytest.fixture
def project(folder):
    root = folder / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".headrace").mkdir(mode=0o700)
    return ProjectPaths(root)


@contextmanager
def listening(project, host):
    """A process of the project that listens there; yields its port."""
    command = [sys.executable, "-c", LISTEN, host]
    with subprocess.Popen(command, cwd=project.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        yield int(one.stdout.readline())
        one.stdin.close()


def said(findings):
    return [(finding.state, finding.what, finding.fix) for finding in findings]


def test_a_process_that_listens_on_loopback_is_in_order(project):
    with listening(project, "127.0.0.1"):
        assert said(exposure.sockets(project)) == [
            ("ok", "sockets of this project's processes: 1 for this machine alone", "")
        ]


def test_a_process_that_other_machines_reach_is_named(project):
    with listening(project, "0.0.0.0") as port:
        [(state, what, fix)] = said(exposure.sockets(project))
    assert state == "wrong"
    assert f"listens on 0.0.0.0, port {port}: other machines reach it" in what
    assert "docs/security.md" in fix


def test_ports_that_a_user_has_allowed_are_in_order(project, monkeypatch):
    with listening(project, "0.0.0.0") as port:
        monkeypatch.setenv("HEADRACE_PORTS", f"{port}-{port}")
        [(state, what, _)] = said(exposure.sockets(project))
    assert (state, what) == (
        "ok",
        "sockets of this project's processes: 0 for this machine alone, 1 at ports of HEADRACE_PORTS",
    )


def test_ports_that_are_none_are_named(project, monkeypatch):
    monkeypatch.setenv("HEADRACE_PORTS", "all")
    assert [state for state, _, _ in said(exposure.sockets(project))] == ["wrong"]


def test_on_a_cluster_address_and_ports_of_workers_are_reported(project, monkeypatch):
    assert said(exposure.cluster(project)) == []
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert said(exposure.cluster(project)) == []
    monkeypatch.setenv("RAY_ADDRESS", "http://192.0.2.77:8265")
    [(state, what, fix)] = said(exposure.cluster(project))
    assert (state, "HEADRACE_PORTS=LOW-HIGH" in fix) == ("warn", True)
    monkeypatch.setenv("HEADRACE_PORTS", "20000-20100")
    [(state, what, _)] = said(exposure.cluster(project))
    assert state == "ok"
    assert what.endswith("at ports 20000 to 20100")


def test_a_token_that_others_may_read_is_wrong(project, folder):
    token = folder / "home" / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    token.chmod(0o644)
    [(state, _, fix)] = said(exposure.credentials(project))
    assert (state, fix) == ("wrong", f"chmod 600 '{token}'")
    token.parent.chmod(0o700)
    assert [state for state, _, _ in said(exposure.credentials(project))] == ["ok"]


def test_credentials_that_go_unencrypted_over_a_network_are_reported(project, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://192.0.2.7:5000")
    assert [state for state, _, _ in said(exposure.credentials(project))] == ["ok"]
    monkeypatch.setenv("RAY_ADDRESS", "http://192.0.2.7:8265")
    monkeypatch.setenv("HEADRACE_ALLOW_OPEN_RAY", "1")
    assert [state for state, _, _ in said(exposure.credentials(project))] == ["ok", "warn", "warn"]


@pytest.mark.parametrize("name", ["params.yaml", "dags"])
def test_what_everybody_may_write_is_wrong(project, name):
    place = project.root / name
    place.mkdir()
    place.chmod(0o777)
    assert ("wrong", f"everybody may write to {place}", f"chmod o-w '{place}'") in said(exposure.permissions(project))
    place.chmod(0o775)  # a group of one's own is the default on many systems
    assert "wrong" not in [state for state, _, _ in said(exposure.permissions(project))]


def test_a_state_that_others_may_enter_is_wrong(project):
    project.state.chmod(0o750)
    assert any("others may enter" in what for state, what, _ in said(exposure.permissions(project)) if state == "wrong")
    project.state.chmod(0o700)
    assert "wrong" not in [state for state, _, _ in said(exposure.permissions(project))]


def test_a_dvc_by_hand_whose_notes_everybody_may_write_is_reported(project, monkeypatch):
    monkeypatch.delenv("DVC_SITE_CACHE_DIR")
    config = project.root / ".dvc" / "config"
    config.write_text("[core]\n")
    assert any("/var/tmp/dvc" in what for state, what, _ in said(exposure.permissions(project)) if state == "warn")
    config.write_text("[core]\n    site_cache_dir = .headrace/dvc\n")
    assert not any("/var/tmp/dvc" in what for _, what, _ in said(exposure.permissions(project)))


def test_a_socket_of_another_folder_is_not_ours(project):
    with socket.create_server(("0.0.0.0", 0)):
        assert [state for state, _, _ in said(exposure.sockets(project))] == ["ok"]
