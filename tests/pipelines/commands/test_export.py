"""A model in another form, at the requested place."""

import json

import keras
import pytest
import tensorflow as tf

from headrace.components.errors import DataError, ParamsError
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.run_record import RunFile, result_digests
from headrace.pipelines.commands.export import Form, default_place, export_model
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths

IDENTITY = {"identity_digest": "1" * 64, "identity": {}, "git_dirty": False, "groups": []}
IDENTITY |= dict.fromkeys(("started_at", "trained_at"), "2026-01-01T00:00:00Z")


@pytest.fixture(scope="module")
def takeoff(repository):
    return load_pipeline(repository / "params.yaml", "takeoff")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    speed, weight = (keras.Input((1,), name=name) for name in ("speed", "weight"))
    file = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model({"speed": speed, "weight": weight}, speed * 2.0 + weight).save(file)
    return file


@pytest.fixture
def paths(tmp_path, model_file):
    paths = PipelinePaths(tmp_path / "a project", "takeoff")
    paths.model.parent.mkdir(parents=True)
    paths.model.write_bytes(model_file.read_bytes())
    paths.history.parent.mkdir(parents=True)
    paths.history.write_text("epoch,loss\n1,2\n")
    origin = dict.fromkeys(("run_name", "mlflow_experiment", "ray_job_id", "data_digest", "git_commit", "owner"), "x")
    counts = dict.fromkeys(("num_workers", "epochs", "best_epoch"), 1) | IDENTITY
    run = RunFile(pipeline="takeoff", mlflow_run_id=None, **origin, **counts, **result_digests(paths))
    write_artifact(paths.run, run)
    return paths


def test_the_last_trainings_model_is_exported_and_an_earlier_export_replaced(paths, takeoff):
    place = default_place(paths, Form.SAVED_MODEL)
    for _ in range(2):
        export_model(takeoff, paths, form=Form.SAVED_MODEL, output=None, alias=None)
    serve = tf.saved_model.load(str(place)).signatures["serving_default"]
    assert serve(speed=tf.constant([[60.0]]), weight=tf.constant([[3.0]]))["output_0"].numpy() == [[123.0]]
    assert [one.name for one in place.parent.iterdir()] == ["1"]
    answer = tf.saved_model.load(str(place)).signatures["version"]()
    found = {name: text.numpy()[0].decode() for name, text in answer.items()}
    assert found == {"model": "takeoff", "version": "", "model_sha256": result_digests(paths)["model_sha256"]}
    assert json.loads((place / "assets.extra" / "model.json").read_text()) == found

    export_model(takeoff, paths, form=Form.TFLITE, output=None, alias=None)
    assert default_place(paths, Form.TFLITE).read_bytes()[4:8] == b"TFL3"  # the file's own mark


def test_a_model_that_is_not_the_trained_one_is_not_exported(paths, takeoff):
    speed = keras.Input((1,), name="speed")
    keras.Model({"speed": speed}, speed * 3.0).save(paths.model)
    with pytest.raises(DataError, match=r"is not the file that run\.json names: .*`headrace train takeoff`"):
        export_model(takeoff, paths, form=Form.TFLITE, output=None, alias=None)
    assert not paths.export.exists()


def test_something_else_is_not_replaced(paths, takeoff):
    for form in Form:
        with pytest.raises(ParamsError, match="there is something else already"):
            export_model(takeoff, paths, form=form, output=paths.root, alias=None)
    assert paths.model.is_file()


def test_without_a_model_nothing_is_written(project_root, takeoff):
    paths = PipelinePaths(project_root, "takeoff")
    with pytest.raises(DataError, match="`headrace train takeoff` writes it"):
        export_model(takeoff, paths, form=Form.SAVED_MODEL, output=None, alias=None)
    with pytest.raises(ParamsError, match="no takeoff@champion"):
        export_model(takeoff, paths, form=Form.TFLITE, output=None, alias="champion")
    assert not paths.export.exists()
