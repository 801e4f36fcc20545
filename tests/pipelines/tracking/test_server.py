import sqlite3
import subprocess
import sys
import time

import pytest

from headrace.components.errors import ServiceError, StoreError
from headrace.pipelines.tracking import server


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "a project"
    folder.mkdir()
    return folder


def test_importing_tracking_does_not_import_mlflow():
    modules = "headrace.pipelines.tracking.mlflow_runs, headrace.pipelines.tracking.registry"
    code = f"import sys, {modules}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sqlite_store_is_made_in_the_project_and_used_again(root):
    first = server.connect(root)
    assert first.create_experiment("one") != ""
    assert (root / "mlflow.db").is_file()
    assert server.connect(root).get_experiment_by_name("one") is not None
    assert not (root / "mlruns").exists()


@pytest.mark.slow
def test_six_processes_that_open_one_fresh_store_together_all_succeed(root):
    code = (
        "import sys; from pathlib import Path\n"
        "from headrace.pipelines.tracking.mlflow_runs import open_run, close_run\n"
        "root = Path(sys.argv[1])\n"
        "run = open_run(root, experiment='x', run_name=sys.argv[2], tags={}, params={'a': 1})\n"
        "close_run(root, run, status='FINISHED')\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, root, str(number)]) for number in range(6)]
    assert [worker.wait() for worker in workers] == [0] * 6
    client = server.connect(root)
    runs = client.search_runs([client.get_experiment_by_name("x").experiment_id])
    assert sorted(run.info.run_name for run in runs) == list("012345")
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_store_whose_making_was_cut_off_leaves_nothing_that_the_next_client_would_open(root):
    code = (
        "import os, sys; from pathlib import Path; from headrace.pipelines.tracking import server\n"
        "import mlflow.store.db.utils as utils\n"
        "utils._upgrade_db = lambda engine: os._exit(9)\n"  # dies with the first tables made
        "server.connect(Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, root], check=False).returncode == 9
    assert not (root / "mlflow.db").exists()
    assert server.connect(root).search_experiments() != []


@pytest.mark.parametrize("content", [b"not a database", b"", None])
def test_a_file_that_is_no_mlflow_database_is_an_immediate_error(root, content):
    if content is None:
        with sqlite3.connect(root / "mlflow.db") as connection:
            connection.execute("CREATE TABLE other (a)")
        connection.close()
    else:
        (root / "mlflow.db").write_bytes(content * 100)
    with pytest.raises(StoreError, match=r"MLflow's store .* is damaged: .*headrace restore"):
        server.connect(root)
    with pytest.raises(StoreError, match="damaged"):
        server.check(root)


def test_a_database_of_another_schema_says_how_to_upgrade_it(root):
    server.connect(root)
    copy = root / "old" / "mlflow.db"
    copy.parent.mkdir()
    copy.write_bytes((root / "mlflow.db").read_bytes())
    connection = sqlite3.connect(copy)
    connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.commit()
    connection.close()
    with pytest.raises(ServiceError, match="mlflow db upgrade"):
        server.connect(copy.parent)


def test_a_server_that_is_away_is_an_error_within_seconds_that_shows_no_password(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:9")
    started = time.monotonic()
    client = server.connect(root)
    with pytest.raises(ServiceError) as caught, server.mlflow_request(client.tracking_uri, "read"):
        client.get_run("0" * 32)
    assert time.monotonic() - started < 20
    assert "could not read" in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_artifacts_are_beside_a_store_that_a_job_reads_from_a_folder_of_its_own(root, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    location = server.artifact_location(root, "headrace/x")
    assert location == f"{tmp_path.as_uri()}/mlartifacts/headrace/x"
    experiments = server.connect(root).search_experiments()
    assert [one.artifact_location for one in experiments] == [f"{tmp_path.as_uri()}/mlartifacts/0"]


def test_artifacts_stay_in_the_project_unless_a_server_decides(root, monkeypatch):
    assert server.artifact_location(root, "headrace/x").endswith("/a%20project/mlartifacts/headrace/x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert server.artifact_location(root, "headrace/x") is None
