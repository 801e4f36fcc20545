"""One side of bench/training.py's feeds: a pass from files to the device for each line it is sent.

`ours` reads splits as a training does and serves its batches; `records` is `tf.data` as TensorFlow's guide has it, on
TFRecord files of the same rows: read in parallel, shuffled, batched, parsed, prefetched. `write` makes both.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

FEATURES, BATCH_SIZE, FILES, SHUFFLED_ROWS = 784, 100, 4, 10_000


def main() -> None:
    side, folder = sys.argv[1], Path(sys.argv[2])
    if side == "write":
        write(folder, rows=int(sys.argv[3]))
        return
    read = {"ours": ours, "records": records}[side]
    while sys.stdin.readline():
        started_seconds = time.monotonic()
        rows = read(folder)
        seconds = time.monotonic() - started_seconds
        if rows != rows_of(folder):
            sys.exit(f"read {rows} rows of {rows_of(folder)}")
        print(json.dumps({"seconds": seconds}), flush=True)


def write(folder: Path, *, rows: int) -> None:
    import polars as pl
    import tensorflow as tf

    random = np.random.default_rng(0)
    features, labels = random.random((rows, FEATURES), np.float32), random.integers(0, 10, rows).astype(np.int32)
    (folder / "train").mkdir()
    (folder / "rows").write_text(str(rows), encoding="utf-8")
    for number, part in enumerate(np.array_split(np.arange(rows), FILES)):
        image = pl.Series("image", features[part], dtype=pl.Array(pl.Float32, FEATURES))
        table = pl.DataFrame({"image": image, "label": labels[part]})
        table.write_parquet(folder / "train" / f"part-{number:05d}.parquet")
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


def ours(folder: Path) -> int:
    from components.examples.settings import CategoryLabel, ImageFeature
    from components.training.batches import steps_per_epoch
    from components.training.columns import load_split
    from components.training.feed import training_batches
    from components.transforms.fitted import FittedFeature, FittedTable

    image = FittedFeature(feature=ImageFeature(height=28, width=28), transforms=(), shape=(28, 28, 1))
    label = CategoryLabel(name="digit", classes=tuple(map(str, range(10))))
    fitted = FittedTable(features={"image": image}, label=label, training_examples=1)
    features, labels = load_split(folder / "train", fitted=fitted)
    batches = training_batches(features, labels, global_batch_size=BATCH_SIZE, seed=1, rank=0, num_workers=1)
    return sum(len(batch[0]) for batch in batches.take(steps_per_epoch(len(features), global_batch_size=BATCH_SIZE)))


def records(folder: Path) -> int:
    import tensorflow as tf

    description = {
        "image": tf.io.FixedLenFeature([28, 28, 1], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(batch, description)
        return parsed["image"], tf.cast(parsed["label"], tf.int32)

    files = tf.data.Dataset.list_files(str(folder / "*.tfrecord"), shuffle=True)
    rows = files.interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    batches = rows.shuffle(SHUFFLED_ROWS).batch(BATCH_SIZE).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return sum(len(batch[0]) for batch in batches.prefetch(tf.data.AUTOTUNE))


if __name__ == "__main__":
    main()
