"""Data sets as others publish them: folders of Hugging Face and TensorFlow Datasets, as files that are there."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

PIXELS = [np.full((8, 8), 10 * number, np.uint8) for number in range(6)]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path, repository: Path) -> Callable[..., pl.DataFrame]:
    """Examples of a source of images with two classes."""
    titanic = yaml.safe_load((repository / "params.yaml").read_text())["titanic"]

    def run(feature: dict[str, Any] | None = None, **source: Any) -> pl.DataFrame:
        image = {"type": "image", "height": 8, "width": 8, **(feature or {})}
        section = {
            "source": {"dataset": "photos", **source},
            "features": {"image": image},
            "label": {"type": "category", "name": "label", "classes": ["0", "1"]},
            "max_bad_fraction": 0.5,
        }
        pipeline = {**titanic, "name": "photos", "ingest": section, "results": {}}
        pipeline |= {"normalize": {"transforms": {"image": [{"kind": "scale_pixels"}]}}}
        pipeline["train"] = yaml.safe_load((repository / "params.yaml").read_text())["digits"]["train"]
        pipeline |= {"split": {"seed": 1, "validation_fraction": 0.2}}
        paths = PipelinePaths(tmp_path, "photos")
        ingest(Pipeline.model_validate(pipeline), paths)
        return shards.scan(paths.examples).collect().sort("example_id")

    return run


def rows(numbers: list[int]) -> pa.Table:
    images = [{"bytes": png(PIXELS[number]), "path": f"{number}.png"} for number in numbers]
    return pa.table({"image": pa.array(images, IMAGE), "label": [number % 2 for number in numbers]})


def write_records(file: Path, numbers: list[int]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for number in numbers:
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png(PIXELS[number])])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def values(examples: pl.DataFrame) -> list[tuple[int, str]]:
    return sorted((row["image"][0], row["label"]) for row in examples.iter_rows(named=True))


EXPECTED = [(10 * number, str(number % 2)) for number in range(6)]


def test_every_form_of_a_data_set_gives_the_same_examples(tmp_path: Path, photos) -> None:
    (tmp_path / "hub" / "data").mkdir(parents=True)
    (tmp_path / "tfds").mkdir()
    for number, some in enumerate(([0, 1, 2], [3, 4, 5])):
        table = rows(some)
        pq.write_table(table, tmp_path / "hub" / "data" / f"train-0000{number}-of-00002.parquet")
        name = f"dataset-0000{number}-of-00002.arrow"
        with pa.ipc.new_stream(str(tmp_path / "hub" / name), table.schema) as writer:
            writer.write_table(table)
        write_records(tmp_path / "tfds" / f"photos-train.tfrecord-0000{number}-of-00002", some)
    (tmp_path / "tfds" / "features.json").write_text("{}")
    (tmp_path / "tfds" / "dataset_info.json").write_text("{}")
    found = {
        "parquet": photos(kind="parquet", files={"root": "hub", "pattern": "data/train-*.parquet"}),
        "arrow": photos(kind="arrow", files={"root": "hub", "pattern": "dataset-*.arrow"}),
        "tfrecord": photos(kind="tfrecord", files={"root": "tfds", "pattern": "photos-train.tfrecord-*"}),
    }
    assert values(found["parquet"]) == EXPECTED
    assert found["arrow"].equals(found["parquet"])
    assert found["tfrecord"].equals(found["parquet"])


def test_splits_of_a_data_set_are_given(tmp_path: Path, photos) -> None:
    parts = []
    for split, some in (("train", [0, 1, 2]), ("test", [3, 4, 5])):
        pq.write_table(rows(some), tmp_path / f"{split}.parquet")
        parts.append({"file": {"name": f"{split}.parquet", "url": f"{split}.parquet"}, "given_split": split})
    examples = photos(kind="parquet", parts=parts)
    assert examples["given_split"].value_counts().sort("count").rows() in (
        [("train", 3), ("test", 3)],
        [("test", 3), ("train", 3)],
    )


def test_a_row_without_bytes_or_with_others_is_rejected_by_its_file(tmp_path: Path, photos) -> None:
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": png(PIXELS[1]), "path": None}, {"bytes": None, "path": "a.png"}, None, {"bytes": b"x"}],
                IMAGE,
            ),
            "label": [1, 0, 0, 1],
        }
    )
    pq.write_table(pa.concat_tables([table, rows([2, 3, 4, 5])]), tmp_path / "a.parquet")
    source = {"kind": "parquet", "parts": [{"file": {"name": "a.parquet", "url": "a.parquet"}}]}
    assert values(photos(**source)) == [EXPECTED[1], *EXPECTED[2:]]
    rejected = pl.read_parquet(PipelinePaths(tmp_path, "photos").rejected).sort("row")
    assert rejected.select("file", "row", "reason").rows() == [
        ("a.png", 2, "missing"),
        ("a.parquet", 3, "missing"),
        ("a.parquet", 4, "not an image"),
    ]
    assert json.loads(PipelinePaths(tmp_path, "photos").ingest_metrics.read_text())["rows_rejected"] == 3


def test_images_may_be_kept_encoded_and_resized(tmp_path: Path, photos) -> None:
    pq.write_table(rows([1, 2, 3]), tmp_path / "a.parquet")
    source = {"kind": "parquet", "parts": [{"file": {"name": "a.parquet", "url": "a.parquet"}}]}
    kept = photos({"encoding": "encoded"}, **source)
    assert sorted(kept["image"].to_list()) == sorted(png(PIXELS[number]) for number in (1, 2, 3))
    resized = photos({"height": 4, "width": 4, "resize": "stretch"}, **source)
    assert values(resized) == EXPECTED[1:4]


def test_an_image_that_is_no_file_is_refused_by_its_type(tmp_path: Path, photos) -> None:
    pq.write_table(pa.table({"image": [[1, 2]], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet: column 'image': expected the bytes of image files, or a struct"):
        photos(kind="parquet", parts=[{"file": {"name": "a.parquet", "url": "a.parquet"}}])
