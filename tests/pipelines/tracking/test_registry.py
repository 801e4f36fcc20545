import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import keras
import polars as pl
import pytest

from components.errors import ServiceError
from components.examples.settings import CategoryFeature, NumberFeature, NumberLabel
from pipelines.tracking.registry import (
    alias_version,
    create_version,
    find_version,
    log_model,
    model_file,
    set_champion,
    tag_version,
)
from pipelines.tracking.runs import add_to_run, close_run, knows_run, log_epoch, open_run
from pipelines.tracking.server import connect


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    number, text = keras.Input((1,), name="speed"), keras.Input((1,), name="kind", dtype="string")
    index = keras.layers.StringLookup(vocabulary=["jet"], output_mode="one_hot")(text)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model({"speed": number, "kind": text}, number * 2.0 + index[:, 1:]).save(path)
    return path


def register(root, saved_model, **tags):
    run_id = open_run(root, experiment="headrace/plane", run_name="plane-1", tags={}, params={"a": 1})
    log_epoch(root, run_id, epoch=1, metrics={"loss": 1.0})
    close_run(root, run_id, status="FINISHED")
    model_id = log_model(
        root,
        "plane",
        run_id=run_id,
        model_file=saved_model,
        features={"speed": NumberFeature(), "kind": CategoryFeature(nullable=True)},
        label=NumberLabel(name="distance"),
        example=pl.DataFrame({"speed": [1.0, 2.0], "kind": ["jet", None], "distance": [3.0, 4.0]}),
    )
    return create_version(root, "plane", run_id=run_id, model_id=model_id, tags=tags)


def test_versions_are_found_by_their_tags(project_root, saved_model):
    first = register(project_root, saved_model, model_md5="a")
    second = register(project_root, saved_model, model_md5="b")
    third = register(project_root, saved_model, model_md5="b")
    assert find_version(project_root, "plane", tags={"model_md5": "a"}) == first
    assert find_version(project_root, "plane", tags={"model_md5": "b"}) == third
    tag_version(project_root, "plane", second.number, {"more": "1"})
    assert find_version(project_root, "plane", tags={"more": "1"}).number == second.number
    assert find_version(project_root, "plane", tags={"model_md5": "c"}) is None
    assert find_version(project_root, "nothing", tags={}) is None


def test_a_model_whose_file_is_gone_is_an_error(project_root, saved_model):
    set_champion(project_root, "plane", register(project_root, saved_model).number)
    model_file(project_root, "plane", "champion").unlink()
    with pytest.raises(ServiceError, match="its file is gone"):
        model_file(project_root, "plane", "champion")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, ready, log) -> subprocess.Popen:
    """A process of its own group, once `ready` answers."""
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    for _ in range(300):
        try:
            urllib.request.urlopen(ready, timeout=5).close()
            return server
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                break
            time.sleep(0.3)
    stop(server)
    raise RuntimeError(f"{command} did not start: {log.read_text()[-2000:]}")


def stop(server) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture
def mlflow_server(tmp_path, empty_store, monkeypatch):
    store = tmp_path / "a server"
    store.mkdir()
    (store / "mlflow.db").write_bytes(empty_store.read_bytes())
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", str(store / "files")]
    server = start(command, f"http://127.0.0.1:{port}/health", store / "log")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    yield server
    stop(server)


@pytest.mark.slow
def test_everything_works_with_a_real_server_and_fails_readably_once_it_is_away(
    tmp_path, saved_model, mlflow_server, monkeypatch
):
    root = tmp_path / "a project"
    root.mkdir()
    assert alias_version(root, "plane", "champion") is None
    assert knows_run(root, "0" * 32) is False
    assert add_to_run(root, "0" * 32, metrics={"a": 1}, artifacts=[], artifact_path="e") is False

    version = register(root, saved_model, model_md5="a")
    assert alias_version(root, "plane", "champion") is None
    set_champion(root, "plane", version.number)
    assert alias_version(root, "plane", "champion") == version
    assert add_to_run(root, version.run_id, metrics={"b": 1}, artifacts=[saved_model], artifact_path="e") is True
    assert connect(root).get_run(version.run_id).data.metrics == {"loss": 1.0, "b": 1.0}
    for _ in range(2):  # the second time from the copy
        assert model_file(root, "plane", "champion").read_bytes() == saved_model.read_bytes()
    assert not (root / "mlflow.db").exists()
    assert not (root / "mlartifacts").exists()

    stop(mlflow_server)
    started = time.monotonic()
    with pytest.raises(ServiceError, match="See that the server is up"):
        alias_version(root, "plane", "champion")
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_mlflow_models_serve_answers_raw_rows(project_root, saved_model, tmp_path, monkeypatch):
    set_champion(project_root, "plane", register(project_root, saved_model).number)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project_root}/mlflow.db")
    # MLflow starts uvicorn by its bare name.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/plane@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = start(command, f"http://127.0.0.1:{port}/ping", tmp_path / "log")
    rows = {"dataframe_records": [{"speed": 10, "kind": "jet"}, {"speed": 10.5, "kind": None}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps(rows).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer) == {"predictions": [[21.0], [21.0]]}
    finally:
        stop(server)
