"""Images that are generated go through the stages: judged, registered, compared again, written and exported."""

import json
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples import shards
from headrace.components.models.build import build
from headrace.components.serving_model.generate_images import generate_images
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.judge import train_judge
from headrace.components.tasks.task import Measurement
from headrace.components.tasks.variants import task_of
from headrace.components.training.generated_samples import COUNT
from headrace.components.training.restored_model import restored_model
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.run_record import RunFile, result_digests
from headrace.pipelines.commands.export import Form, export_model
from headrace.pipelines.commands.generate import GenerateOptions, write_generated
from headrace.pipelines.commands.inference.predictions import write_predictions
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.evaluate import evaluate, measured
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.register import register
from headrace.pipelines.stages.split import split
from headrace.pipelines.tracking.mlflow_runs import close_run, open_run

IDENTITY = {"identity_digest": "1" * 64, "identity": {}, "git_dirty": False, "groups": []}
IDENTITY |= dict.fromkeys(("started_at", "trained_at"), "2026-01-01T00:00:00Z")

CLASSES = [str(digit) for digit in range(10)]


def section(repository: Path) -> dict:
    """That of mnist_gan, over the digits of 8x8 pixels that are bundled."""
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))["mnist_gan"]
    content["ingest"]["source"] = {"kind": "bundled", "dataset": "digits"}
    content["ingest"]["features"]["image"] = {"type": "image", "height": 8, "width": 8, "maximum": 16}
    content["split"] = {"seed": 1, "held_out": "test", "test_fraction": 0.2}
    content["evaluate"]["judge"] |= {"epochs": 12, "samples": 100}
    return content


@pytest.fixture(scope="module")
def pipeline(repository) -> Pipeline:
    return Pipeline.model_validate({"name": "digits_gan", **section(repository)})


@pytest.fixture
def paths(project_root, pipeline) -> PipelinePaths:
    """A project whose digits are split, with a generator that was never trained."""
    paths = PipelinePaths(project_root, "digits_gan")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    leave_model(pipeline, paths, seed=1)
    return paths


def leave_model(pipeline: Pipeline, paths: PipelinePaths, *, seed: int) -> None:
    """What train writes, with random weights."""
    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    keras.utils.set_random_seed(seed)
    core = build(pipeline.train.model, input_shape=(8, 8, 1), output=task_of(fitted.label).output(None))
    model, _ = restored_model(
        core.get_weights(), model=pipeline.train.model, fitted=fitted, statistics=paths.statistics
    )
    paths.model.parent.mkdir(parents=True, exist_ok=True)
    model.save(paths.model)
    paths.tensorboard.mkdir(exist_ok=True)
    for epoch in (1, 12):
        np.savez(paths.tensorboard / f"samples-{epoch:06d}.npz", images=np.full((COUNT, 8, 8, 1), epoch, np.uint8))
    paths.history.parent.mkdir(parents=True, exist_ok=True)
    paths.history.write_text(
        "epoch,loss,generator_loss,discriminator_loss,seconds\n1,2,1,1,1\n2,2,1,1,1\n", encoding="utf-8"
    )
    run_id = open_run(paths.root, experiment="headrace/digits_gan", run_name="r", tags={}, params={})
    close_run(paths.root, run_id, status="FINISHED")
    manifest = json.loads(paths.manifest.read_text(encoding="utf-8"))
    origin = {"pipeline": "digits_gan", "run_name": "r", "mlflow_run_id": run_id, "ray_job_id": "embedded"}
    origin |= {"mlflow_experiment": "headrace/digits_gan", "data_digest": manifest["digest"], "git_commit": "c" * 40}
    counts = {"num_workers": 1, **IDENTITY, "epochs": 2, "best_epoch": 2}
    write_artifact(paths.run, RunFile(**origin, **counts, owner="hand", **result_digests(paths)))


def judge_of(pipeline: Pipeline, paths: PipelinePaths, **changes):
    return train_judge(
        shards.scan(paths.examples),
        shards.scan(paths.splits / "train"),
        split=pipeline.split,
        features=pipeline.ingest.features,
        image="image",
        settings=pipeline.evaluate.judge.model_copy(update=changes),
    )


def test_the_digit_is_the_label_of_an_image_in_training(paths, pipeline):
    examples = pl.read_parquet(shards.files(paths.examples)).select("example_id", "digit")
    train = pl.read_parquet(shards.files(paths.splits / "train"))
    assert train.columns == ["example_id", "image", "label"]
    labelled = train.join(examples, on="example_id")
    assert labelled["digit"].unique().sort().to_list() == CLASSES
    assert labelled["label"].cast(str).to_list() == labelled["digit"].to_list()


@pytest.mark.slow
def test_a_judge_knows_real_images_and_is_the_same_for_the_same_rows(paths, pipeline):
    judge, again = judge_of(pipeline, paths), judge_of(pipeline, paths)
    examples = measured(pipeline, paths)
    assert judge.accuracy(examples) > 0.9
    images = generate_images(load_model(paths.model), count=20, seed=3)
    np.testing.assert_allclose(judge.probabilities(images), again.probabilities(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="no training row has digit '0'"):
        judge_of(pipeline, paths, examples=1)


@pytest.mark.slow
def test_images_are_judged_registered_and_compared_again(paths, pipeline):
    evaluate(pipeline, paths)
    metrics = json.loads(paths.metrics.read_text(encoding="utf-8"))
    assert 0 <= metrics["named"] < 0.8  # noise is no digit
    assert metrics["judge_accuracy"] > 0.9
    page = paths.report.read_text(encoding="utf-8")
    for shown in ("Samples by epoch", "epoch 12", "Named by the judge", "The judge&#39;s accuracy"):
        assert shown in page
    assert {"samples.png", "development.png", "classes_of_samples.png"} <= {p.name for p in paths.plots.iterdir()}

    register(pipeline, paths)
    registration = json.loads(paths.registration.read_text(encoding="utf-8"))
    assert (registration["version"], registration["alias"]) == (1, None)  # it does not reach the thresholds
    again = task_of(pipeline.ingest.label).metrics(
        Measurement(
            model=load_model(paths.model),
            rows=measured(pipeline, paths),
            features=pipeline.ingest.features,
            examples=shards.scan(paths.examples),
            rows_of_split=lambda name: shards.scan(paths.splits / name),
            split=pipeline.split,
            judge=pipeline.evaluate.judge,
        )
    )
    assert again == pytest.approx({name: metrics[name] for name in again}, rel=1e-3)


@pytest.mark.slow
def test_a_champion_is_judged_by_the_judge_of_the_present(paths, pipeline):
    lenient = pipeline.model_copy(update={"register_": pipeline.register_.model_copy(update={"thresholds": {}})})
    evaluate(lenient, paths)
    register(lenient, paths)
    leave_model(lenient, paths, seed=2)
    evaluate(lenient, paths)
    register(lenient, paths)
    registration = json.loads(paths.registration.read_text(encoding="utf-8"))
    assert registration["version"] == 2
    assert registration["reasons"][0].startswith("the champion was judged again")
    assert "named" in registration["reasons"][-1]

    write_generated(
        lenient, paths, GenerateOptions(count=12, output=paths.root / "digits.png"), seed=0, alias="champion"
    )
    write_generated(
        lenient, paths, GenerateOptions(count=12, output=paths.root / "again.png"), seed=0, alias="champion"
    )
    with Image.open(paths.root / "digits.png") as image:
        assert (image.mode, image.size) == ("L", (4 * 9 - 1, 3 * 9 - 1))
    assert (paths.root / "digits.png").read_bytes() == (paths.root / "again.png").read_bytes()
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{paths.root / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model("models:/digits_gan@champion")
    noise = np.zeros((3, 100), np.float32)
    assert served.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 100)
    assert served.predict({"noise": noise}).shape == (3, 8, 8, 1)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize("form", [Form.SAVED_MODEL, Form.TFLITE])
def test_an_exported_generator_makes_the_same_images(paths, pipeline, form, tmp_path):
    import tensorflow as tf

    place = tmp_path / "export" / form.value
    export_model(pipeline, paths, form=form, output=place, alias=None)
    noise = np.random.default_rng(0).normal(size=(1, 100)).astype(np.float32)
    if form is Form.SAVED_MODEL:
        found = tf.saved_model.load(str(place)).signatures["serving_default"](noise=tf.constant(noise))["output_0"]
    else:
        found = tf.lite.Interpreter(str(place)).get_signature_runner("serving_default")(noise=noise)["output_0"]
    expected = load_model(paths.model)({"noise": noise})
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-4, atol=1e-3)
    assert 0 <= float(np.min(expected)) <= float(np.max(expected)) <= 16


def test_a_generator_predicts_nothing(paths, pipeline, tmp_path):
    with pytest.raises(ParamsError, match=r"predicts nothing; `headrace generate digits_gan --output images\.png`"):
        write_predictions(pipeline, paths, input_file=tmp_path / "rows.csv", output_file=None, alias="champion")
