"""One side of bench/training.py's feeds: five passes from files to the device for each line it is sent.

`ours` reads splits as a training does and serves its batches. `records` is `tf.data` as TensorFlow's guide has it, on
TFRecord files of the same rows: read in parallel, shuffled, batched, parsed, prefetched. `cached` is its fastest form:
its batches are kept in memory, and each pass has the same ones in another order, which is less than the others do.
Rows that are kept in memory and put in new batches took as long as `records`. `write` makes the files.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, BATCH_SIZE, FILES, SHUFFLED_ROWS, PASSES = 784, 100, 4, 10_000, 5
PARALLEL = -1  # tf.data.AUTOTUNE


def main() -> None:
    side, folder = sys.argv[1], Path(sys.argv[2])
    if side == "write":
        write(folder, rows=int(sys.argv[3]))
        return
    serve = {"ours": ours, "records": records, "cached": cached}[side]
    while sys.stdin.readline():
        print(json.dumps(timed(serve, folder)), flush=True)


def timed(serve: Callable[[Path], Iterator[int]], folder: Path) -> dict[str, float]:
    """Seconds until the end of the first pass and of the last."""
    started_seconds, rows, passes = time.monotonic(), rows_of(folder), []
    batches = serve(folder)
    for _ in range(PASSES):
        left = rows
        while left > 0:
            left -= next(batches)
        passes.append(time.monotonic() - started_seconds)
    return {"first_pass": passes[0], "later_passes": passes[-1] - passes[0], "all_passes": passes[-1]}


def write(folder: Path, *, rows: int) -> None:
    import polars as pl
    import tensorflow as tf

    from headrace.components.examples import shards

    random = np.random.default_rng(0)
    # Pixels like those of handwriting: four in five are 0.
    pixels = random.integers(0, 256, (rows, FEATURES)) * (random.random((rows, FEATURES)) > 0.8)
    features, labels = (pixels / np.float32(255)).astype(np.float32), random.integers(0, 10, rows).astype(np.int32)
    (folder / "rows").write_text(str(rows), encoding="utf-8")
    image = pl.Series("image", features, dtype=pl.Array(pl.Float32, FEATURES))
    shards.write(pl.DataFrame({"image": image, "label": labels}), folder / "train")
    for number, part in enumerate(np.array_split(np.arange(rows), FILES)):
        with tf.io.TFRecordWriter(str(folder / f"part-{number:05d}.tfrecord")) as file:
            for row in part:
                image_list = tf.train.FloatList(value=features[row])
                label_list = tf.train.Int64List(value=[labels[row]])
                values = {
                    "image": tf.train.Feature(float_list=image_list),
                    "label": tf.train.Feature(int64_list=label_list),
                }
                file.write(tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString())


def rows_of(folder: Path) -> int:
    return int((folder / "rows").read_text(encoding="utf-8"))


def ours(folder: Path) -> Iterator[int]:
    """The rows of one batch after the other, without end."""
    from headrace.components.schema.feature_types.image_feature import ImageFeature
    from headrace.components.schema.labels import CategoryLabel
    from headrace.components.training.batches import Windows
    from headrace.components.training.feeding.feed import serve_training
    from headrace.components.training.feeding.split_arrays import load_split
    from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

    image = FittedFeature(feature=ImageFeature(height=28, width=28), transforms=(), shape=(28, 28, 1))
    label = CategoryLabel(name="digit", classes=tuple(map(str, range(10))))
    fitted = FittedTable(features={"image": image}, label=label, training_examples=1)
    columns = load_split(folder / "train", fitted=fitted)
    windows = Windows(columns.examples, BATCH_SIZE)
    batches = serve_training(columns, windows, seed=1, rank=0, num_workers=1, first_epoch=0, first_step=0)
    return (len(batch[0]) for batch in batches)


def records(folder: Path) -> Iterator[int]:
    """The rows of one batch after the other, without end."""
    batches = _records(folder).shuffle(SHUFFLED_ROWS).batch(BATCH_SIZE).map(_parsed, num_parallel_calls=PARALLEL)
    return (len(batch[0]) for batch in batches.repeat().prefetch(PARALLEL))


def cached(folder: Path) -> Iterator[int]:
    """The rows of one batch after the other, without end; the batches of all passes are those of the first."""
    batches = _records(folder).shuffle(SHUFFLED_ROWS).batch(BATCH_SIZE).map(_parsed, num_parallel_calls=PARALLEL)
    shuffled = batches.cache().shuffle(SHUFFLED_ROWS // BATCH_SIZE)
    return (len(batch[0]) for batch in shuffled.repeat().prefetch(PARALLEL))


def _records(folder: Path) -> Any:
    import tensorflow as tf

    files = tf.data.Dataset.list_files(str(folder / "*.tfrecord"), shuffle=True)
    return files.interleave(tf.data.TFRecordDataset, num_parallel_calls=PARALLEL, deterministic=False)


def _parsed(batch: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    description = {
        "image": tf.io.FixedLenFeature([28, 28, 1], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_example(batch, description)
    return parsed["image"], tf.cast(parsed["label"], tf.int32)


if __name__ == "__main__":
    main()
