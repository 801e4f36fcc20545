"""How processor time grows with columns, rows, files, classes, epochs and runs: exponents between neighbouring sizes.

    python bench/growth.py --parts columns rows

1.0 is linear. Each size runs as a process of its own, whose imports do not count; so small sizes say little.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MEASURED = "processor seconds by part: "
TABLE_ROWS = 10_000
IMAGE_SIDE = 8

Seconds = dict[str, float]


def main() -> None:
    """Measure each size of each part, or, with `--size`, one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--size", type=int, help="measure this size alone, in this process")
    arguments = parser.parse_args()
    for part in arguments.parts:
        sizes, side = PARTS[part]
        if arguments.size is not None:
            with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
                print(MEASURED + json.dumps(side(Path(folder), arguments.size)))
        else:
            show(part, {size: measure(part, size) for size in sizes})


def measure(part: str, size: int) -> Seconds:
    command = [sys.executable, __file__, "--parts", part, "--size", str(size)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = [line for line in ended.stdout.splitlines() if line.startswith(MEASURED)]
    if ended.returncode or not found:
        sys.exit(f"{part} of size {size} failed:\n{ended.stdout}{ended.stderr}")
    seconds: Seconds = json.loads(found[0].removeprefix(MEASURED))
    return seconds


def show(part: str, runs: dict[int, Seconds]) -> None:
    print(f"\n{part}: processor seconds, and the exponent from the size before")
    for name in next(iter(runs.values())):
        cells, before = [], None
        for size, seconds in runs.items():
            cell = f"{size:,}: {seconds[name]:.2f} s"
            if before is not None:
                exponent = math.log(seconds[name] / runs[before][name]) / math.log(size / before)
                cell += f" ({exponent:.2f})"
            cells.append(cell)
            before = size
        print(f"  {name:20}" + "   ".join(cells), flush=True)


@contextmanager
def timed(seconds: Seconds, name: str) -> Iterator[None]:
    started = time.process_time()
    yield
    seconds[name] = time.process_time() - started


def columns(folder: Path, size: int) -> Seconds:
    """The data steps of a table of so many columns of numbers."""
    return _table(folder, rows=TABLE_ROWS, columns=size)


def rows(folder: Path, size: int) -> Seconds:
    """The data steps of a table of so many rows of ten numbers."""
    return _table(folder, rows=size, columns=10)


def _table(folder: Path, *, rows: int, columns: int) -> Seconds:
    import numpy as np
    import polars as pl

    random = np.random.default_rng(1)
    names = [f"x{index}" for index in range(columns)]
    table = pl.DataFrame({name: random.normal(size=rows).round(6) for name in names})
    table = table.with_columns(kind=pl.Series(random.choice(["a", "b", "c"], rows)))
    table.write_csv(folder / "rows.csv")
    with (folder / "rows.csv").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    csv = {"name": "rows.csv", "url": str(folder / "rows.csv"), "sha256": sha256}
    source = {"kind": "delimited", "dataset": "rows", "parts": [{"files": [csv]}]}
    label = {"type": "category", "name": "kind", "classes": ["a", "b", "c"]}
    return _data_steps(folder, source, {name: {"type": "number"} for name in names}, label, "standardize")


def files(folder: Path, size: int) -> Seconds:
    """The data steps of so many small images, a file each."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(1)
    for number in range(size):
        file = folder / "images" / f"class{number % 2}" / f"{number:07d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)).save(file)
    source = {"kind": "images", "dataset": "images", "parts": [{"files": {"root": str(folder / "images")}}]}
    features = {"image": {"type": "image", "height": IMAGE_SIDE, "width": IMAGE_SIDE}}
    label = {"type": "category", "name": "kind", "classes": ["class0", "class1"]}
    return _data_steps(folder, source, features, label, "scale_pixels")


def _data_steps(
    folder: Path, source: dict[str, Any], features: dict[str, Any], label: dict[str, Any], transform: str
) -> Seconds:
    from headrace.pipelines.params import Pipeline
    from headrace.pipelines.paths import PipelinePaths
    from headrace.pipelines.stages.ingest import ingest
    from headrace.pipelines.stages.normalize import normalize
    from headrace.pipelines.stages.split import split

    section = {
        "name": "bench",
        "description": "Made by the benchmark",
        "ingest": {"source": source, "features": features, "label": label},
        "normalize": {"transforms": {name: [{"kind": transform}] for name in features}},
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
    seconds: Seconds = {}
    with timed(seconds, "settings"):
        pipeline = Pipeline.model_validate(section)
    paths = PipelinePaths(folder / "project", "bench")
    for stage in (ingest, normalize, split):
        with timed(seconds, stage.__name__):
            stage(pipeline, paths)
    return seconds


def classes(folder: Path, size: int) -> Seconds:  # noqa: ARG001 - as all have it
    """Metrics of 2,000 predictions of so many classes."""
    import numpy as np

    from headrace.components.tasks.category_outcome import category_metrics

    random = np.random.default_rng(1)
    scores = random.random((2_000, size), dtype=np.float32)
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    seconds: Seconds = {}
    with timed(seconds, "metrics"):
        category_metrics(random.integers(0, size, len(scores)), probabilities)
    return seconds


def runs(folder: Path, size: int) -> Seconds:
    """`runs list` beside so many runs in MLflow's own store, and one more of them."""
    from headrace.pipelines.tracking.mlflow_runs import close_run, open_run
    from headrace.pipelines.tracking.sweep import find_runs

    (folder / "params.yaml").write_text("pipelines: []\n")
    for number in range(size):
        run = open_run(folder, experiment="headrace/bench", run_name=f"bench-{number}", tags={}, params={"epochs": 1})
        close_run(folder, run, status="FINISHED")
    seconds: Seconds = {}
    with timed(seconds, "list 30"):
        find_runs(folder, limit=30)
    with timed(seconds, "one more"):
        run = open_run(folder, experiment="headrace/bench", run_name="bench", tags={}, params={"epochs": 1})
        close_run(folder, run, status="FINISHED")
    return seconds


def epochs(folder: Path, size: int) -> Seconds:
    """The state that a checkpoint has after each of so many epochs, written and read again."""
    from headrace.components.training.state import TrainingState

    figures = {"epoch": 1.0, "loss": 0.123456789, "accuracy": 0.9, "val_loss": 0.2, "val_accuracy": 0.8, "seconds": 1.5}
    state = TrainingState(seed=1)
    seconds: Seconds = {}
    with timed(seconds, "state.json"):
        for epoch in range(size):
            state = state.model_copy(update={"epoch": epoch + 1, "history": (*state.history, figures)})
            (folder / "state.json").write_text(state.model_dump_json(), encoding="utf-8")
    return seconds


PARTS: dict[str, tuple[tuple[int, ...], Callable[[Path, int], Seconds]]] = {
    "columns": ((100, 1_000, 4_000), columns),
    "rows": ((100_000, 1_000_000, 4_000_000), rows),
    "files": ((1_000, 10_000, 40_000), files),
    "classes": ((100, 1_000, 10_000), classes),
    "runs": ((10, 100, 1_000), runs),
    "epochs": ((100, 1_000, 4_000), epochs),
}

if __name__ == "__main__":
    main()
