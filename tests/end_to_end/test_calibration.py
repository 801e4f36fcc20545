"""A classifier with `train.calibration`, by the commands that users type: what each way out gives is calibrated."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

CLASSES = ["a", "b", "c"]
SECTION = {
    "description": "Which of three",
    "ingest": {
        "source": {
            "kind": "delimited",
            "dataset": "rows",
            "parts": [{"files": [{"name": "rows.csv", "url": "rows.csv"}]}],
        },
        "key": ["id"],
        "features": {"x": {"type": "number"}, "y": {"type": "number"}},
        "label": {"type": "category", "name": "kind", "classes": CLASSES},
    },
    "normalize": {"transforms": {"x": [{"kind": "standardize"}], "y": [{"kind": "standardize"}]}},
    "split": {"seed": 1, "validation_fraction": 0.3, "test_fraction": 0.3},
    "train": {
        "model": {"layers": [{"kind": "dense", "units": 64, "activation": "relu"}]},
        "optimizer": {"kind": "adam", "learning_rate": 0.05},
        "global_batch_size": 32,
        "epochs": 30,
        "best_by": "loss",  # of the training rows: the network learns them, and becomes too sure
        "seed": 1,
        "num_workers": 1,
        "threads_per_worker": 1,
    },
    "evaluate": {"worst_examples": 3},
    "register": {"thresholds": {}, "compare": {"metric": "accuracy", "when_unsure": "newer"}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A project of one pipeline whose classes overlap, so that a network that learns its rows is too sure."""
    root = tmp_path_factory.mktemp("calibration") / "a project"
    root.mkdir()
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(2, 900))
    logits = np.stack([x, y, -x - y], axis=1)
    kinds = (logits + draw.gumbel(size=logits.shape)).argmax(axis=1)
    table = pl.DataFrame({"id": range(900), "x": x, "y": y, "kind": [CLASSES[one] for one in kinds]})
    table.write_csv(root / "rows.csv")
    table.head(50).drop("kind").write_csv(root / "new.csv")
    for name in ("dvc.yaml", "headrace.lock"):
        shutil.copy(repository / name, root)
    write(root, "none")
    programs = Path(sys.executable).parent
    for command in (["git", "init", "--quiet"], [programs / "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True, env={**os.environ, "HOME": str(root.parent)})
    return root


def write(root: Path, calibration: str) -> None:
    section = {**SECTION, "train": {**SECTION["train"], "calibration": calibration}}
    (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["rows"], "rows": section}))


def probabilities(root: Path, headrace: Callable[..., str]) -> np.ndarray:
    """float[rows, classes] as `headrace predict` gives them."""
    headrace(root, "predict", "rows", "--input", "new.csv", "--output", "predicted.parquet")
    table = pl.read_parquet(root / "predicted.parquet").sort(pl.col("id").cast(pl.Int64))
    return table.select(f"probability_{one}" for one in CLASSES).to_numpy()


def reported(root: Path, name: str) -> dict:
    return json.loads((root / "reports" / "rows" / f"{name}.json").read_text())


@contextmanager
def served(root: Path, port: int) -> Iterator[str]:
    """`mlflow models serve` of the champion."""
    programs = Path(sys.executable).parent
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/rows@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}", "HOME": str(root.parent)}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"  # MLflow starts uvicorn by its bare name
    with (root.parent / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(300):
            assert server.poll() is None, (root.parent / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_a_champion_gives_calibrated_probabilities_wherever_it_predicts(project, headrace, free_ports, kind):
    import tensorflow as tf

    write(project, "none")
    headrace(project, "run", "rows")
    plain, error, weights = probabilities(project, headrace), reported(project, "metrics"), reported_weights(project)
    write(project, kind)
    headrace(project, "run", "rows")
    registration = reported(project, "registration")
    assert registration["alias"] == "champion", registration["reasons"]
    assert reported_weights(project) == weights
    assert reported(project, "metrics")["log_loss"] < error["log_loss"]

    given = probabilities(project, headrace)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
    logits, scaled = (np.log(one) - np.log(one).mean(axis=1, keepdims=True) for one in (plain, given))
    if kind == "temperature":
        temperature = (logits * logits).sum() / (logits * scaled).sum()
        assert temperature > 1.05  # it was too sure
        np.testing.assert_allclose(scaled, logits / temperature, atol=1e-3)
    else:
        assert np.abs(scaled - logits).max() > 0.05

    headrace(project, "export", "rows", "--format", "saved_model", "--alias", "champion")
    headrace(project, "export", "rows", "--format", "tflite", "--alias", "champion")
    rows = pl.read_csv(project / "new.csv")
    columns = {name: rows[name].to_numpy().astype(np.float32)[:, None] for name in ("x", "y")}
    folder = project / "models" / "rows" / "export"
    serve = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["serving_default"]
    outputs = serve(**{name: tf.constant(column) for name, column in columns.items()})["output_0"]
    np.testing.assert_allclose(outputs, given, atol=1e-5)
    [port] = free_ports(1)
    with served(project, port) as address:
        content = json.dumps({"dataframe_records": rows.select("x", "y").to_dicts()}).encode()
        request = urllib.request.Request(address, data=content, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            np.testing.assert_allclose(json.load(answer)["predictions"], given, atol=1e-5)
    answer = lite(next(folder.rglob("*.tflite")), columns)
    np.testing.assert_allclose(answer, given, atol=1e-5)


def reported_weights(root: Path) -> str:
    return str(json.loads((root / "models" / "rows" / "run.json").read_text())["weights_digest"])


def lite(file: Path, columns: dict[str, np.ndarray]) -> np.ndarray:
    """What TensorFlow Lite's interpreter makes of the rows."""
    import warnings

    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated", category=UserWarning)
        run = tf.lite.Interpreter(str(file)).get_signature_runner("serving_default")
    return np.asarray(run(**columns)["output_0"])
