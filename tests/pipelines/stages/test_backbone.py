"""A frozen network as a transform: the normalize stage, the model that is served, and what travels to a cluster."""

import io
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from headrace.components.errors import DataError, ServiceError
from headrace.components.examples.shards import scan, write
from headrace.components.serving_model.model_inputs import model_inputs
from headrace.components.training.feeding.split_arrays import core_shape, has_encoded_images, input_shape
from headrace.components.training.restored_model import restored_model
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.remote_training.handoff import Handoff, fetch_inputs, publish_inputs
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split

BACKBONE = {"kind": "backbone", "name": "mobilenet", "alpha": 0.25}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    keras.utils.set_random_seed(1)
    file = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    network = keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, include_top=False, weights=None)
    network.save_weights(file)
    return file


def make_pipeline(repository: Path, file: Path, **changed) -> Pipeline:
    pipeline = load_pipeline(repository / "params.yaml", "flowers").model_dump(by_alias=True)
    pipeline["ingest"]["features"]["photo"] |= {"height": 32, "width": 32}
    backbone = {**BACKBONE, "weights": {"name": file.name, "url": str(file)}, **changed}
    pipeline["normalize"] = {"transforms": {"photo": [backbone]}}
    pipeline["train"]["model"] = {"layers": []}
    return Pipeline.model_validate(pipeline)


def write_examples(paths: PipelinePaths, pipeline: Pipeline, rows: int = 30) -> None:
    random = np.random.default_rng(1)
    photos = []
    for _ in range(rows):
        content = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(content, "PNG")
        photos.append(content.getvalue())
    ids = np.sort(random.integers(0, 2**64, rows, dtype=np.uint64))
    flowers = random.choice(pipeline.ingest.label.classes, rows)
    write(pl.DataFrame({"example_id": ids, "photo": photos, "flower": flowers}), paths.examples, rows_per_file=16)


def test_features_are_computed_once_and_the_served_model_has_the_network_inside(repository, tmp_path, weights):
    pipeline, paths = make_pipeline(repository, weights), PipelinePaths(tmp_path / "a project", "flowers")
    write_examples(paths, pipeline)
    normalize(pipeline, paths)
    split(pipeline, paths)
    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    normalized = scan(paths.normalized).collect()
    assert normalized["photo"].dtype == pl.Array(pl.Float32, 256)
    assert fitted.backbone.width == 256
    assert not has_encoded_images(fitted)
    assert (paths.normalized / fitted.backbone.weights_file).read_bytes() == weights.read_bytes()

    head = [np.random.default_rng(2).normal(size=size).astype(np.float32) for size in ((256, 5), (5,))]
    model, core = restored_model(head, model=pipeline.train.model, fitted=fitted, statistics=paths.statistics)
    raw = model_inputs(scan(paths.examples).collect(), features=pipeline.ingest.features)
    expected = keras.ops.softmax(core(normalized["photo"].to_numpy()))
    np.testing.assert_allclose(np.asarray(model(raw)), np.asarray(expected), rtol=1e-4, atol=1e-6)

    before = {file.name: file.read_bytes() for file in paths.normalized.iterdir()}
    normalize(pipeline, paths)
    assert {file.name: file.read_bytes() for file in paths.normalized.iterdir()} == before
    _assert_weights_travel(paths, tmp_path)


def _assert_weights_travel(paths: PipelinePaths, tmp_path: Path) -> None:
    """A job on a cluster gets the network with its statistics."""
    fields = {"run_name": "flowers-0", "owner": "hand", "git_commit": "unknown", "ray_address": ""}
    handoff = Handoff(**fields, storage=str(tmp_path / "storage"), inputs="inputs/flowers-0")
    publish_inputs(paths, handoff, start_weights=None)
    job = PipelinePaths(tmp_path / "job", "flowers")
    fetch_inputs(job, handoff)
    fitted = FittedTable.model_validate_json(job.statistics.read_text(encoding="utf-8"))
    name = fitted.backbone.weights_file
    assert (job.normalized / name).read_bytes() == (paths.normalized / name).read_bytes()


def test_weights_that_can_not_be_had_end_it_before_anything_is_written(repository, tmp_path, weights):
    pipeline, paths = make_pipeline(repository, tmp_path / "nowhere.h5"), PipelinePaths(tmp_path, "flowers")
    write_examples(paths, pipeline, rows=2)
    with pytest.raises(ServiceError, match=r"can't read .*nowhere\.h5"):
        normalize(pipeline, paths)
    pipeline = make_pipeline(repository, weights, alpha=0.5)
    with pytest.raises(DataError, match="not the weights of mobilenet"):
        normalize(pipeline, paths)
    assert not paths.normalized.exists()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"channels": 1}, "takes images of 3 channels, found 1"),
        ({"height": 16}, "mobilenet takes images of at least 32 x 32 pixels, found 16 x 32"),
    ],
)
def test_images_that_a_network_can_not_take_are_refused_before_any_work(repository, weights, changed, expected):
    pipeline = make_pipeline(repository, weights).model_dump(by_alias=True)
    pipeline["ingest"]["features"]["photo"] |= changed
    with pytest.raises(ValueError, match=expected):
        Pipeline.model_validate(pipeline)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"name": "inception_v3"}, "alpha is the width of a mobilenet; inception_v3 has none"),
        ({"weights": {"name": "small.keras", "url": "/small.keras"}}, r"must end in \.h5"),
    ],
)
def test_settings_that_make_no_network_are_refused(repository, weights, changed, expected):
    with pytest.raises(ValueError, match=expected):
        make_pipeline(repository, weights, **changed)


COPIES = {"augmented_copies": 2, "augment": {"shift": 0.1, "zoom": 0.2, "flip": "horizontal", "brightness": 0.1}}


def test_training_photos_have_augmented_copies_and_held_out_ones_have_none(repository, tmp_path, weights):
    plain, augmented = make_pipeline(repository, weights), make_pipeline(repository, weights, **COPIES)
    of_plain, of_augmented = (PipelinePaths(tmp_path / name, "flowers") for name in ("plain", "augmented"))
    for pipeline, paths in ((plain, of_plain), (augmented, of_augmented)):
        write_examples(paths, pipeline, rows=60)
        normalize(pipeline, paths)
        split(pipeline, paths)
    for name, are_copied in (("train", True), ("validation", False), ("test", False)):
        table, without = (scan(paths.splits / name).collect() for paths in (of_augmented, of_plain))
        assert table["example_id"].to_list() == without["example_id"].to_list()
        copies = table["photo"].to_numpy().reshape(-1, 3, 256)
        np.testing.assert_allclose(copies[:, 0], without["photo"].to_numpy(), rtol=1e-5, atol=1e-6)
        differ = np.abs(copies[:, 1] - copies[:, 2]).max(axis=1) > 0.01 * np.abs(copies[:, 0]).max()
        assert differ.all() if are_copied else not copies[:, 1:].any()
    fitted = FittedTable.model_validate_json(of_augmented.statistics.read_text(encoding="utf-8"))
    assert (input_shape(fitted), core_shape(fitted)) == ((3, 256), (256,))
    head = [np.zeros(size, np.float32) for size in ((256, 5), (5,))]
    _, core = restored_model(head, model=augmented.train.model, fitted=fitted, statistics=of_augmented.statistics)
    assert core.input_shape == (None, 256)  # what is served takes the photo itself


def test_copies_of_a_photo_do_not_depend_on_the_others(repository, tmp_path, weights):
    pipeline, tables = make_pipeline(repository, weights, **COPIES), []
    for rows in (20, 60):
        paths = PipelinePaths(tmp_path / str(rows), "flowers")
        write_examples(paths, pipeline, rows=60)
        kept = scan(paths.examples).collect()[-rows:]
        write(kept, paths.examples, rows_per_file=16)
        normalize(pipeline, paths)
        tables.append(scan(paths.normalized).collect()[-20:]["photo"].to_numpy())
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("one", COPIES)
def test_copies_without_changes_are_refused(repository, weights, one):
    with pytest.raises(ValidationError, match="augmented_copies and augment belong together"):
        make_pipeline(repository, weights, **{one: COPIES[one]})
