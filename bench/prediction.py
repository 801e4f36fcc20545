"""Prediction against Keras's own `predict`: the model's calls alone, and `headrace predict` from file to file.

    python bench/prediction.py --pairs 5 --memory-rows 1000000 10000000

Prints ratios of seconds and of processor seconds, several pairs run in turn, because the speed of a shared machine
drifts within a minute, and the peak memory of `headrace predict` by rows.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / "bench" / "peers" / "prediction.py"
NUMBERS, KINDS = 10, 20
ROWS = 1_000_000
BATCH_SIZES = (1_024, 8_192, 32_768, 131_072)  # of which Keras gets its best
BLOCK_ROWS = 1_000_000
PARTS = ("calls", "files", "memory")
LIMIT_SECONDS = 3600


@dataclass(frozen=True)
class Ended:
    """What a process printed last, and what it took."""

    output: str
    seconds: float
    processor_seconds: float
    peak_mebibytes: float


def main() -> None:
    """Measure each part in a project of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--memory-rows", nargs="+", type=int, default=(1_000_000, 10_000_000))
    parser.add_argument("--suffixes", nargs="+", choices=(".parquet", ".csv", ".jsonl"), default=[".parquet"])
    parser.add_argument("--make", type=Path, help="make the project in this folder, and measure nothing")
    arguments = parser.parse_args()
    if arguments.make:
        make_project(arguments.make)
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        project = Path(folder)
        run([sys.executable, __file__, "--make", folder], project)
        if {"calls", "files"} & set(arguments.parts):
            write_rows(project / "rows.parquet", ROWS)
            batch_size = best_batch_size(project)
        for part in arguments.parts:
            if part == "calls":
                compare_calls(project, arguments.pairs, batch_size)
            elif part == "files":
                compare_files(project, arguments.pairs, batch_size)
            else:
                show_memory(project, arguments.memory_rows, arguments.suffixes)


def best_batch_size(project: Path) -> int:
    """The batch size with which Keras's `predict` takes the fewest seconds."""
    found = {}
    for size in BATCH_SIZES:
        found[size] = min(json.loads(run(peer("keras", project, size), project).output)["seconds"])
        print(f"keras predict, batches of {size:,}: {found[size]:.2f} s", flush=True)
    return min(found, key=lambda size: found[size])


def compare_calls(project: Path, pairs: int, batch_size: int) -> None:
    """Rows that are in memory to predictions in memory, in one process each; the first call of each is left out."""
    turns = [
        [json.loads(run(peer(side, project, batch_size), project).output) for side in ("ours", "keras")]
        for _ in range(pairs)
    ]
    for name in ("seconds", "processor_seconds"):
        pair_of = [[min(side[name]) for side in turn] for turn in turns]
        show(f"{name} of {ROWS:,} rows in memory, ours / keras in batches of {batch_size:,}", pair_of)


def compare_files(project: Path, pairs: int, batch_size: int) -> None:
    """Whole processes from one Parquet file to another."""
    ours = [*headrace("predict", "bench"), "--input", "rows.parquet", "--output", "predictions.parquet"]
    turns = [[run(side, project) for side in (ours, peer("files", project, batch_size))] for _ in range(pairs)]
    show("seconds of a process, ours / keras by hand", [[one.seconds for one in turn] for turn in turns])
    processor_seconds = [[one.processor_seconds for one in turn] for turn in turns]
    show("processor seconds of a process, ours / keras by hand", processor_seconds)
    for name, place in (("ours", 0), ("keras by hand", 1)):
        print(f"peak memory, {name}: {max(turn[place].peak_mebibytes for turn in turns):.0f} MiB")


def show_memory(project: Path, sizes: list[int], suffixes: list[str]) -> None:
    """Peak memory of `headrace predict`, Parquet and CSV out."""
    for suffix in suffixes:
        for size in sizes:
            file = project / f"rows-{size}{suffix}"
            write_rows(file, size)
            output = "predictions.csv" if suffix == ".csv" else "predictions.parquet"
            ended = run([*headrace("predict", "bench"), "--input", file.name, "--output", output], project)
            print(
                f"{size:,} rows of {suffix}: {ended.seconds:.1f} s, processor {ended.processor_seconds:.1f} s, "
                f"peak {ended.peak_mebibytes:.0f} MiB",
                flush=True,
            )
            file.unlink()
            (project / output).unlink()


def make_project(project: Path) -> None:
    """A project with a registered model of 10 numbers and a category; its weights are what they were initialized as."""
    import keras
    import numpy as np
    import polars as pl
    import yaml

    from headrace.components.tasks.variants import task_of
    from headrace.components.transforms.fitted_table import FittedTable
    from headrace.pipelines.artifacts.artifact import file_digest
    from headrace.pipelines.params import load_pipeline
    from headrace.pipelines.paths import PipelinePaths
    from headrace.pipelines.stages.ingest import ingest
    from headrace.pipelines.stages.normalize import normalize
    from headrace.pipelines.stages.split import split
    from headrace.pipelines.tracking.mlflow_runs import open_run
    from headrace.pipelines.tracking.registry import create_version, log_model, set_champion

    rows = make_rows(0, 10_000).with_columns(kind=pl.lit("a"))
    rows = rows.with_columns(kind=pl.Series(np.random.default_rng(1).choice(["a", "b", "c"], rows.height)))
    rows.write_csv(project / "train.csv")
    csv = {"name": "train.csv", "url": str(project / "train.csv"), "sha256": file_digest(project / "train.csv")}
    names = [f"x{index}" for index in range(NUMBERS)]
    section = {
        "description": "Made by the benchmark",
        "ingest": {
            "source": {"kind": "delimited", "dataset": "rows", "parts": [{"files": [csv]}]},
            "features": {**{name: {"type": "number"} for name in names}, "color": {"type": "category"}},
            "label": {"type": "category", "name": "kind", "classes": ["a", "b", "c"]},
        },
        "normalize": {
            "transforms": {**{name: [{"kind": "standardize"}] for name in names}, "color": [{"kind": "one_hot"}]}
        },
        "split": {"seed": 1, "validation_fraction": 0.1, "test_fraction": 0.1},
        "train": {
            "model": {"layers": []},
            "optimizer": {"kind": "sgd", "learning_rate": 0.1},
            "global_batch_size": 64,
            "epochs": 1,
        },
        "evaluate": {},
        "register": {"thresholds": {}, "compare": {"metric": "accuracy"}},
    }
    (project / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["bench"], "bench": section}))
    pipeline, paths = load_pipeline(project / "params.yaml", "bench"), PipelinePaths(project, "bench")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    fitted = FittedTable.model_validate_json(paths.statistics.read_text())
    keras.utils.set_random_seed(1)
    inputs = keras.Input((NUMBERS + KINDS + 1,))
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Dense(64, activation="relu")(inputs))
    core = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    file = project / "model.keras"
    task_of(pipeline.ingest.label).saved_model(core, fitted).save(file)
    run_id = open_run(project, experiment="headrace/bench", run_name="bench", tags={}, params={})
    model_id = log_model(
        project,
        "bench",
        run_id=run_id,
        model_file=file,
        features=pipeline.ingest.features,
        label=pipeline.ingest.label,
        example=make_rows(0, 1),
        trained_on=pl.Series([1], dtype=pl.UInt64),
    )
    tags = {"model_sha256": file_digest(file)}
    set_champion(project, "bench", create_version(project, "bench", run_id=run_id, model_id=model_id, tags=tags).number)


def make_rows(first: int, count: int) -> "pl.DataFrame":  # noqa: F821 - polars is imported where rows are made
    import numpy as np
    import polars as pl

    random = np.random.default_rng(first)
    table = {f"x{index}": random.normal(size=count).astype(np.float32).astype(np.float64) for index in range(NUMBERS)}
    return pl.DataFrame(table).with_columns(
        color=pl.Series(np.array([f"color{index}" for index in range(KINDS)])[random.integers(KINDS, size=count)])
    )


def write_rows(file: Path, count: int) -> None:
    """Write so many rows, a million at a time."""
    import pyarrow.parquet as pq

    blocks = ((first, min(BLOCK_ROWS, count - first)) for first in range(0, count, BLOCK_ROWS))
    if file.suffix == ".parquet":
        schema = make_rows(0, 1).to_arrow().schema
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for first, length in blocks:
                writer.write_table(make_rows(first, length).to_arrow(), row_group_size=1 << 17)
        return
    with file.open("wb") as stream:
        for first, length in blocks:
            rows = make_rows(first, length)
            if file.suffix == ".csv":
                rows.write_csv(stream, include_header=first == 0)
            else:
                rows.write_ndjson(stream)


def headrace(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "headrace", *arguments]


def peer(side: str, project: Path, batch_size: int) -> list[str]:
    return [sys.executable, str(PEER), side, str(project), str(batch_size)]


def run(command: list[str], folder: Path) -> Ended:
    """Run a command to its end, and return its last line and what it took; it must succeed."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{text}")
    last = text.strip().rpartition("\n")[2]
    return Ended(last, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def show(what: str, pairs: list[list[float]]) -> None:
    ratios = [ours / theirs for ours, theirs in pairs]
    medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
    print(
        f"{what}: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
        f"{medians[0]:.2f} and {medians[1]:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
