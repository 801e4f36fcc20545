import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from headrace.pipelines.commands.diagnosis import checks
from headrace.pipelines.paths import ProjectPaths


def states(findings):
    return [finding.state for finding in findings]


def test_a_healthy_project_has_nothing_wrong(finished_project, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "HEADRACE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    output = finished_project.output_of("doctor")
    assert "wrong" not in output
    assert "Python 3." in output
    assert "Ray starts inside each run" in output
    assert "sockets of this project's processes: 0" in output
    assert "nobody else may write to the project" in output


def test_what_is_wrong_is_named_with_its_fix_and_ends_with_1(finished_project, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADRACE_MIRROR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port()}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:secret@127.0.0.1:{closed_port()}")
    output = finished_project.output_of("doctor", code=1)
    assert "nowhere is not a folder" in output
    assert "RAY_ADDRESS right?" in output
    assert "MLFLOW_TRACKING_URI right?" in output
    assert "secret" not in output


def test_a_server_that_listens_is_found(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{server.getsockname()[1]}")
        assert states(checks.ray(ProjectPaths(tmp_path))) == ["ok"]


def test_a_folder_without_git_and_dvc_is_wrong(tmp_path):
    assert states(checks.git(ProjectPaths(tmp_path))) == ["wrong"]
    assert states(checks.remote(ProjectPaths(tmp_path))) == ["wrong"]


@pytest.mark.parametrize(("schema", "state"), [("newest", "ok"), ("0123456789ab", "wrong"), (None, "wrong")])
def test_mlflow_stores_schema_is_compared_with_the_installed_mlflow(tmp_path, monkeypatch, schema, state):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = ProjectPaths(tmp_path)
    with closing(sqlite3.connect(project.mlflow_database)) as store, store:
        if schema is not None:
            store.execute("CREATE TABLE alembic_version (version_num TEXT)")
            store.execute("CREATE TABLE model_versions (name TEXT, version INTEGER)")
            store.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
            (newest,) = checks.mlflow_schemas()
            store.execute("INSERT INTO alembic_version VALUES (?)", [newest if schema == "newest" else schema])
        else:
            store.execute("CREATE TABLE something (else_ TEXT)")
    assert states(checks.mlflow(project)) == [state]


def test_newest_schema_is_what_mlflow_itself_says():
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert checks.mlflow_schemas() == {_get_latest_schema_revision()}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "state", "said"),
    [
        (None, "ok", "HEADRACE_STORAGE is not set"),
        ("{folder}", "ok", "can be listed"),
        ("{folder}/file", "wrong", "Not a directory"),
        ("relative", "wrong", "s3://BUCKET/PREFIX or in a folder's full path"),
        ("s3://bucket/a?endpoint_url=http://127.0.0.1:{port}", "wrong", "can't be reached"),
    ],
)
def test_the_storage_of_a_cluster_is_checked(tmp_path, monkeypatch, address, state, said):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    if address:
        monkeypatch.setenv("HEADRACE_STORAGE", address.format(folder=tmp_path, port=closed_port()))
    else:
        monkeypatch.delenv("HEADRACE_STORAGE", raising=False)
    [finding] = checks.storage(ProjectPaths(tmp_path))
    assert finding.state == state
    assert said in finding.what


def test_few_files_and_little_memory_are_found(repository):
    code = (
        "from headrace.pipelines.commands.diagnosis import checks\n"
        "for one in checks.limits(None): print(one.state, one.what, one.fix)"
    )
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -n 256; ulimit -v 8000000; exec "$@"', "sh", sys.executable, "-c", code],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "warn a process may open 256 files ulimit -n 1024" in ended.stdout
    assert "warn a process may have 7.6 GiB of addresses" in ended.stdout
