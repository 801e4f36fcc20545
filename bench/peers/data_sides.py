"""The sides of bench/data_steps.py: each does one job in a process of its own and prints what each part took.

python bench/peers/data_sides.py SIDE FOLDER
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLUMNS = [f"x{index}" for index in range(12)]
NUMBERS = {
    "features": {name: {"type": "number"} for name in COLUMNS},
    "label": {"type": "category", "name": "kind", "classes": ["a", "b", "c"]},
}
IMAGES = {
    "features": {"photo": {"type": "image", "height": 224, "width": 224, "channels": 3, "encoding": "encoded"}},
    "label": {"type": "category", "name": "kind", "classes": [f"class{number}" for number in range(10)]},
}
MEASURED = "seconds by part: "


def main() -> None:
    """Run one side and print its parts."""
    side, folder = sys.argv[1], Path(sys.argv[2])
    seconds: dict[str, float] = {}
    SIDES[side](folder, seconds)
    print(MEASURED + json.dumps(seconds))


class Timed:
    """Adds what a block takes to `seconds`, by the wall or, by `clock`, of the processor."""

    def __init__(self, seconds: dict[str, float], name: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._seconds, self._name, self._clock = seconds, name, clock

    def __enter__(self) -> None:
        self._started = self._clock()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = self._clock() - self._started


def steps_ours(folder: Path, seconds: dict[str, float]) -> None:
    """Ingest, normalize and split the Parquet files of folder/rows."""
    with Timed(seconds, "imports"):
        from headrace.pipelines.paths import PipelinePaths
        from headrace.pipelines.stages.ingest import ingest
        from headrace.pipelines.stages.normalize import normalize
        from headrace.pipelines.stages.split import split
    files = {"root": str(folder / "rows"), "pattern": "*.parquet"}
    pipeline = _pipeline({"kind": "parquet", "dataset": "rows", "files": files})
    paths = PipelinePaths(folder / "ours", "bench")
    for stage in (ingest, normalize, split):
        with Timed(seconds, stage.__name__):
            stage(pipeline, paths)


def steps_polars(folder: Path, seconds: dict[str, float]) -> None:
    """The data steps in Polars, written for this table alone: no settings, no reasons, no manifest, no digests."""
    with Timed(seconds, "imports"):
        import polars as pl
    target = folder / "polars"
    for name in ("", "train", "validation", "test"):
        (target / name).mkdir(exist_ok=True, parents=True)
    with Timed(seconds, "ingest"):
        rows = pl.scan_parquet(folder / "rows" / "*.parquet")
        good = rows.filter(*(pl.col(name).is_finite() for name in COLUMNS), pl.col("kind").is_in(["a", "b", "c"]))
        identified = good.with_columns(example_id=pl.struct(*COLUMNS, "kind").hash(1))
        identified.sort("example_id").sink_parquet(target / "examples.parquet")
    share = pl.col("example_id").hash(1) / 2.0**64
    with Timed(seconds, "normalize"):
        examples = pl.scan_parquet(target / "examples.parquet")
        aggregates = [pl.col(name).mean().name.suffix("_mean") for name in COLUMNS]
        aggregates += [pl.col(name).std().name.suffix("_std") for name in COLUMNS]
        found = examples.filter(share >= 0.2).select(aggregates).collect(engine="streaming").row(0, named=True)
        examples.select(
            "example_id",
            *(((pl.col(name) - found[f"{name}_mean"]) / found[f"{name}_std"]).cast(pl.Float32) for name in COLUMNS),
            pl.col("kind").cast(pl.Enum(["a", "b", "c"])).to_physical().cast(pl.Int32).alias("label"),
        ).sink_parquet(target / "normalized.parquet")
    with Timed(seconds, "split"):
        table = pl.scan_parquet(target / "normalized.parquet")
        ranges = {"train": share >= 0.2, "validation": (share >= 0.1) & (share < 0.2), "test": share < 0.1}
        for name, chosen in ranges.items():
            table.filter(chosen).sink_parquet(target / name / "rows.parquet")


def steps_ray_data(folder: Path, seconds: dict[str, float]) -> None:
    """The data steps in Ray Data, without the sort by id, which is their slowest part."""
    with Timed(seconds, "imports"):
        import numpy as np
        import pandas as pd
        import ray
    target = folder / "ray_data"

    def identify(batch: dict[str, Any]) -> dict[str, Any]:
        good = np.all([np.isfinite(batch[name]) for name in COLUMNS], axis=0) & np.isin(batch["kind"], ["a", "b", "c"])
        rows = pd.DataFrame({name: batch[name][good] for name in (*COLUMNS, "kind")})
        ids = pd.util.hash_pandas_object(rows, index=False).to_numpy()
        return {"example_id": ids, **{name: rows[name].to_numpy() for name in rows}}

    def trained_on(batch: dict[str, Any]) -> dict[str, Any]:
        chosen = batch["example_id"] >= np.uint64(0.2 * 2**64)
        return {name: batch[name][chosen] for name in COLUMNS}

    with Timed(seconds, "ingest"):
        ray.init(logging_level="ERROR", log_to_driver=False, include_dashboard=False, num_cpus=2)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.read_parquet(str(folder / "rows")).map_batches(identify)
        rows.write_parquet(str(target / "examples"))
    with Timed(seconds, "normalize"):
        examples = ray.data.read_parquet(str(target / "examples"))
        training = examples.map_batches(trained_on)  # a filter expression takes ids for signed integers
        found = training.aggregate(
            *(one(name) for name in COLUMNS for one in (ray.data.aggregate.Mean, ray.data.aggregate.Std))
        )
        classes = np.array(["a", "b", "c"])

        def normalized(batch: dict[str, Any]) -> dict[str, Any]:
            columns = {
                name: ((batch[name] - found[f"mean({name})"]) / found[f"std({name})"]).astype(np.float32)
                for name in COLUMNS
            }
            label = np.searchsorted(classes, batch["kind"].astype(str)).astype(np.int32)
            return {"example_id": batch["example_id"], **columns, "label": label}

        examples.map_batches(normalized).write_parquet(str(target / "normalized"))
    with Timed(seconds, "split"):
        table = ray.data.read_parquet(str(target / "normalized"))
        cuts = (("test", 0.0, 0.1), ("validation", 0.1, 0.2), ("train", 0.2, 1.0))
        for name, low, high in cuts:

            def chosen(batch: dict[str, Any], low: float = low, high: float = high) -> dict[str, Any]:
                share = batch["example_id"].astype(np.uint64) / 2.0**64
                return {column: values[(share >= low) & (share < high)] for column, values in batch.items()}

            table.map_batches(chosen).write_parquet(str(target / name))
        ray.shutdown()


def csv_ours(folder: Path, seconds: dict[str, float]) -> None:
    """Ingest folder/rows.csv: checked, with ids, sorted."""
    with Timed(seconds, "imports"):
        from headrace.pipelines.paths import PipelinePaths
        from headrace.pipelines.stages.ingest import ingest
    sha256 = (folder / "rows.csv.sha256").read_text()
    file = {"name": "rows.csv", "url": str(folder / "rows.csv"), "sha256": sha256}
    pipeline = _pipeline({"kind": "delimited", "dataset": "rows", "parts": [{"files": [file]}]})
    with Timed(seconds, "ingest"):
        ingest(pipeline, PipelinePaths(folder / "ours", "bench"))


def csv_polars(folder: Path, seconds: dict[str, float]) -> None:
    """Polars' own way from CSV to Parquet."""
    with Timed(seconds, "imports"):
        import polars as pl
    with Timed(seconds, "ingest"):
        pl.scan_csv(folder / "rows.csv").sink_parquet(folder / "polars.parquet")


def images_ours(folder: Path, seconds: dict[str, float]) -> None:
    """Ingest the JPEGs of folder/images, kept encoded: packed, checked, with ids, sorted, with a profile."""
    with Timed(seconds, "imports"):
        from headrace.pipelines.paths import PipelinePaths
        from headrace.pipelines.stages.ingest import ingest
    source = {"kind": "images", "dataset": "images", "parts": [{"files": {"root": str(folder / "images")}}]}
    pipeline = _pipeline(source, columns=IMAGES, transform="scale_pixels")
    with Timed(seconds, "images"), Timed(seconds, "images_processor", clock=time.process_time):
        ingest(pipeline, PipelinePaths(folder / "ours", "bench"))


def images_tf_data(folder: Path, seconds: dict[str, float]) -> None:
    """Read and decode them in parallel, once."""
    with Timed(seconds, "imports"):
        import tensorflow as tf
    with Timed(seconds, "images"), Timed(seconds, "images_processor", clock=time.process_time):
        files = sorted(map(str, (folder / "images").rglob("*.jpg")))
        labels = [int(Path(file).parent.name.removeprefix("class")) for file in files]

        def decoded(file: Any, label: Any) -> Any:
            return tf.io.decode_jpeg(tf.io.read_file(file), channels=3), label

        examples = tf.data.Dataset.from_tensor_slices((files, labels)).map(decoded, num_parallel_calls=tf.data.AUTOTUNE)
        count = sum(len(batch) for _, batch in examples.batch(256).prefetch(tf.data.AUTOTUNE))
    if count != len(files):
        raise RuntimeError(f"{count} of {len(files)} images were decoded")


def _pipeline(source: dict[str, Any], *, columns: dict[str, Any] = NUMBERS, transform: str = "standardize") -> Any:
    from headrace.pipelines.params import Pipeline

    return Pipeline.model_validate(
        {
            "name": "bench",
            "description": "Made by the benchmark",
            "ingest": {"source": source, **columns},
            "normalize": {"transforms": {name: [{"kind": transform}] for name in columns["features"]}},
            "split": {"seed": 1, "validation_fraction": 0.1, "test_fraction": 0.1},
            "train": {
                "model": {"layers": []},
                "optimizer": {"kind": "adam", "learning_rate": 0.001},
                "global_batch_size": 128,
                "epochs": 1,
            },
            "evaluate": {},
            "register": {"thresholds": {}, "compare": {"metric": "accuracy"}},
        }
    )


SIDES: dict[str, Callable[[Path, dict[str, float]], None]] = {
    one.__name__: one
    for one in (
        steps_ours,
        steps_polars,
        steps_ray_data,
        csv_ours,
        csv_polars,
        images_ours,
        images_tf_data,
    )
}


if __name__ == "__main__":
    main()
