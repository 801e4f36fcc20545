"""Splits that are spread over nodes are those of local files, whatever is in them."""

import io
from contextlib import contextmanager

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from headrace.components.examples import shards
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.training.feeding.batch_source import Part, batch_source
from headrace.components.training.feeding.window_parts import NodeRows
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.scale_pixels import FittedScalePixels
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.split_manifest import OverlapCounts, SplitManifest, SplitSummary
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import publish
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.ray_train.spread_splits import fetched_shards, spread_split
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.ray_train.worker_data import split_columns

EXAMPLES, SHARD = 75, 11
LABEL = CategoryLabel(name="kind", classes=("a", "b", "never"))
IMAGE = FittedFeature(
    feature=ImageFeature(height=4, width=6, channels=3), transforms=(FittedScalePixels(maximum=255),), shape=(4, 6, 3)
)
NUMBERS = {name: FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,)) for name in "xy"}


def files_of_images() -> list[bytes]:
    """JPEG and PNG files in turn."""
    found, random = [], np.random.default_rng(0)
    for index in range(EXAMPLES):
        with io.BytesIO() as file:
            pixels = random.integers(0, 256, (3 + index % 4, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "PNG" if index % 2 else "JPEG")
            found.append(file.getvalue())
    return found


@pytest.fixture(params=["numbers", "images"])
def fitted(request) -> FittedTable:
    features = {"image": IMAGE} if request.param == "images" else NUMBERS
    return FittedTable(features=features, label=LABEL, training_examples=EXAMPLES)


@pytest.fixture
def job(tmp_path, repository, fitted) -> TrainJob:
    index = np.arange(EXAMPLES)
    images = "image" in fitted.features
    features = {"image": files_of_images()} if images else {name: index.astype(np.float32) / 3 for name in "xy"}
    ids = pl.Series("example_id", index, pl.UInt64)
    rows = pl.DataFrame(features).with_columns(
        ids, pl.Series("label", index % 7 == 0).cast(pl.Int32), sample_weight=pl.Series(index / 9)
    )
    for split in ("train", "validation", "test"):
        shards.write(rows, tmp_path / "splits" / split, rows_per_file=SHARD)
    classes = {str(name): int(count) for name, count in enumerate([*np.bincount(index % 7 == 0), 0])}
    summary = SplitSummary(examples=EXAMPLES, digest="", classes=classes)
    manifest = SplitManifest(
        pipeline="digits",
        seed=1,
        digest="",
        overlap=OverlapCounts(by_id=0, by_content=0, left_out=0),
        splits=dict.fromkeys(("train", "validation"), summary),
    )
    write_artifact(tmp_path / "splits" / "manifest.json", manifest)
    train = load_pipeline(repository / "params.yaml", "digits").train
    settings = {"window_examples": 32, "global_batch_size": 9, "class_weights": "balanced", "seed": 3}
    return TrainJob(
        run_name="digits-1",
        folder=tmp_path / "driver",
        splits=tmp_path / "splits",
        statistics=tmp_path / "statistics.json",
        train=train.model_copy(update=settings),
        storage=str(tmp_path / "storage"),
        inputs="inputs",
        spread=("train", "validation"),
    )


class NodesHere:
    """Three nodes, whose shards are the files of the job's splits."""

    def __init__(self, job: TrainJob) -> None:
        self._splits = job.splits
        self._nodes = [NodeRows(node=node, open_shard=self._opened) for node in range(3)]

    def __len__(self) -> int:
        return len(self._nodes)

    @contextmanager
    def _opened(self, shard):
        yield self._splits / shard.split / shards.file_name(shard.number)

    def first_shard(self, split):
        found = pq.ParquetFile(self._splits / split / shards.file_name(0))
        return found.metadata.num_rows, found.schema_arrow

    def rows(self, part):
        return [node.rows(part) for node in self._nodes]


def test_features_labels_and_weights_are_those_of_local_files(job, fitted):
    nodes = NodesHere(job)
    for split, seed in (("train", 3), ("validation", None)):
        local = batch_source(
            split_columns(job, split, fitted=fitted), global_batch_size=9, window_examples=32, seed=seed, name=split
        )
        spread = spread_split(job, split, nodes, fitted=fitted, inputs=None)
        assert (spread.steps, spread.shape, spread.windows) == (local.steps, local.columns.shape, local.windows)
        for left, right in zip(first_arrays(spread), first_arrays(local), strict=True):
            np.testing.assert_array_equal(left, right)
        part = Part(1, 2)
        with (
            spread.training(part, first_step=3, steps=8) as found,
            local.training(part, first_step=3, steps=8) as expected,
        ):
            compared = 0
            for one, other in zip(found.take(8), expected.take(8), strict=True):
                for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
                    assert left.numpy().tobytes() == right.numpy().tobytes()
                compared += 1
        assert compared == 8


def first_arrays(source) -> tuple:
    first = source.first_examples(4)
    return np.asarray(first.features), np.asarray(first.labels)


def test_a_spread_split_s_first_shards_are_fetched_and_removed(job, fitted):
    publish({"splits": job.splits}, storage=open_storage(job.storage), key="inputs")
    with fetched_shards(job, "train", count=2) as folder:
        assert [file.name for file in shards.files(folder)] == ["part-00000.parquet", "part-00001.parquet"]
        assert not (folder.parent / "validation").exists()
    assert not folder.exists()
    with fetched_shards(job, "validation") as folder:
        assert shards.digest(folder) == shards.digest(job.splits / "validation")


@pytest.mark.parametrize(
    ("changes", "spread"),
    [
        ({"data_cache_bytes": 0}, ("train", "validation")),
        ({"data_cache_bytes": 1 << 30}, ()),
        ({"data_cache_bytes": 0, "window_examples": None}, ()),
    ],
)
def test_a_split_is_spread_where_it_is_trained_in_windows_and_larger_than_a_node_s_cache(
    job, tmp_path, changes, spread
):
    job = job.model_copy(update={"train": job.train.model_copy(update=changes)})
    sizes = {
        "splits/train/part-00000.parquet": 10,
        "splits/validation/part-00000.parquet": 1,
        "splits/manifest.json": 1,
    }
    local = job.with_inputs(tmp_path, sizes)
    assert local.spread == spread
    assert not local.is_left_out("splits/manifest.json")
    assert local.is_left_out("splits/test/part-00000.parquet")
    assert local.is_left_out("splits/train/part-00000.parquet") == bool(spread)
