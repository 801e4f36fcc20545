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

from headrace.components.errors import DataError, ServiceError, StoreError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import NumberLabel
from headrace.components.serving_model.keras_file import write_keras_file
from headrace.pipelines.artifacts.artifact import file_digest
from headrace.pipelines.tracking.mlflow_runs import add_to_run, close_run, knows_run, log_epoch, open_run
from headrace.pipelines.tracking.registry import (
    Version,
    alias_version,
    create_version,
    find_version,
    log_model,
    model_file,
    set_champion,
    tag_version,
    version_file,
)
from headrace.pipelines.tracking.server import connect


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
        trained_on=pl.Series([1, 2], dtype=pl.UInt64),
    )
    tags = {"model_sha256": file_digest(saved_model), **tags}
    return create_version(root, "plane", run_id=run_id, model_id=model_id, tags=tags)


def test_versions_are_found_by_their_tags(project_root, saved_model):
    first = register(project_root, saved_model, git_commit="a")
    second = register(project_root, saved_model, git_commit="b")
    third = register(project_root, saved_model, git_commit="b")
    assert find_version(project_root, "plane", tags={"git_commit": "a"}) == first
    assert find_version(project_root, "plane", tags={"git_commit": "b"}) == third
    tag_version(project_root, "plane", second.number, {"more": "1"})
    assert find_version(project_root, "plane", tags={"more": "1"}).number == second.number
    assert find_version(project_root, "plane", tags={"git_commit": "c"}) is None
    assert find_version(project_root, "nothing", tags={}) is None


def test_a_model_whose_file_is_gone_is_an_error(project_root, saved_model):
    set_champion(project_root, "plane", register(project_root, saved_model).number)
    model_file(project_root, "plane", "champion").unlink()
    with pytest.raises(StoreError, match=r"its file is gone: .*; restore it from a backup"):
        model_file(project_root, "plane", "champion")


def test_a_file_that_was_changed_after_it_was_registered_is_refused(project_root, saved_model):
    set_champion(project_root, "plane", register(project_root, saved_model).number)
    file = model_file(project_root, "plane", "champion")
    state = file.stat()
    file.write_bytes(file.read_bytes().replace(b"jet", b"jot"))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))  # neither size nor time gives it away
    expected, found = file_digest(saved_model), file_digest(file)
    with pytest.raises(
        DataError,
        match=rf"version 1 of model 'plane': expected sha256 {expected}, found {found} .*`headrace promote plane",
    ):
        model_file(project_root, "plane", "champion")


def test_a_version_without_a_digest_is_refused_and_an_old_one_has_md5(project_root, saved_model):
    set_champion(project_root, "plane", register(project_root, saved_model, model_sha256="").number)
    with pytest.raises(DataError, match="no tag model_sha256, so its file can't be checked; `headrace register plane`"):
        model_file(project_root, "plane", "champion")
    for md5, is_refused in ((file_digest(saved_model, "md5"), False), ("0" * 32, True)):
        version = register(project_root, saved_model)
        old = Version(version.number, version.run_id, {"model_md5": md5})
        with pytest.raises(DataError, match=r"expected md5 0{32}") if is_refused else contextlib.nullcontext():
            version_file(project_root, "plane", old)


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

    version = register(root, saved_model, git_commit="a")
    assert alias_version(root, "plane", "champion") is None
    set_champion(root, "plane", version.number)
    assert alias_version(root, "plane", "champion").number == version.number
    assert add_to_run(root, version.run_id, metrics={"b": 1}, artifacts=[saved_model], artifact_path="e") is True
    assert connect(root).get_run(version.run_id).data.metrics == {"loss": 1.0, "b": 1.0}
    for _ in range(2):  # the second time from the copy
        assert model_file(root, "plane", "champion").read_bytes() == saved_model.read_bytes()
    model_file(root, "plane", "champion").write_bytes(b"another")  # the copy: it is fetched again
    assert model_file(root, "plane", "champion").read_bytes() == saved_model.read_bytes()
    [served] = (tmp_path / "a server").rglob("data/model.keras")
    served.write_bytes(b"another")
    model_file(root, "plane", "champion")  # the copy is still the registered one
    next((root / ".headrace").rglob("*.keras")).unlink()
    with pytest.raises(DataError, match="was changed after it was registered"):
        model_file(root, "plane", "champion")
    assert not (root / "mlflow.db").exists()
    assert not (root / "mlartifacts").exists()

    stop(mlflow_server)
    started = time.monotonic()
    with pytest.raises(ServiceError, match="See that the server is up"):
        alias_version(root, "plane", "champion")
    assert time.monotonic() - started < 30


OWN_LAYER = """\
import keras

from models.factors import FACTOR


@keras.saving.register_keras_serializable(package="own")
class Times(keras.layers.Layer):
    def call(self, values):
        from models.late import one

        return values * FACTOR * one()
"""


@pytest.fixture(scope="module")
def own_model(tmp_path_factory):
    """A model with a layer of a project's own, which imports as it is imported and as it runs."""
    sources = {"models/times.py": OWN_LAYER, "models/factors.py": "FACTOR = 3.0\n"}
    code = OwnCode({**sources, "models/late.py": "def one():\n    return 1.0\n"})
    path = tmp_path_factory.mktemp("own") / "model.keras"
    layer = code.function("models/times.py", "Times")
    with code.importable():
        number, text = keras.Input((1,), name="speed"), keras.Input((1,), name="kind", dtype="string")
        index = keras.layers.StringLookup(vocabulary=["jet"], output_mode="one_hot")(text)
        model = keras.Model({"speed": number, "kind": text}, layer()(number) + index[:, 1:])
        write_keras_file(model, path, sources=code.sources)
    return path


@pytest.mark.slow
def test_own_code_of_a_champion_is_run_elsewhere_where_it_is_permitted(project_root, own_model, tmp_path):
    """Loaded by MLflow in a fresh process, in a folder without a project, and without Headrace."""
    set_champion(project_root, "plane", register(project_root, own_model).number)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = (
        "import sys, mlflow.pyfunc, pandas as pd\n"
        "rows = pd.DataFrame({'speed': [10.0, 10.5], 'kind': ['jet', None]})\n"
        "for _ in range(2):\n"
        "    print(mlflow.pyfunc.load_model('models:/plane@champion').predict(rows).ravel().tolist())\n"
        "print(any(name.partition('.')[0] in ('headrace', 'models') for name in sys.modules))\n"
    )

    def served(**environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project_root}/mlflow.db", **environment}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, cwd=elsewhere, env=variables, capture_output=True, text=True, check=False)

    refused = served()
    assert refused.returncode == 1
    assert refused.stderr.strip().splitlines()[-1] == (
        "ValueError: the model needs code of a project that it holds, models/factors.py, models/late.py, "
        "models/times.py, which would run with your rights: set HEADRACE_SERVE_OWN_CODE=1 to run it, if you trust all "
        "who may write to this registry"
    )
    permitted = served(HEADRACE_SERVE_OWN_CODE="1")
    assert permitted.returncode == 0, permitted.stderr
    assert permitted.stdout.splitlines() == ["[31.0, 31.5]", "[31.0, 31.5]", "False"]


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
        request.data = json.dumps({**rows, "params": {"with_version": True}}).encode()
        with urllib.request.urlopen(request, timeout=60) as answer:
            named = {"model": "plane", "version": "1", "model_sha256": file_digest(saved_model)}
            assert json.load(answer) == {"predictions": {**named, "outputs": [[21.0], [21.0]]}}
    finally:
        stop(server)
