"""Normalize and split against the same written by hand in Polars: time ratio and peak memory.

    python bench/data_steps.py --rows 10000000 --pairs 3

Each side runs as a process of its own, in turn: ours, peer, ours, peer, ... Both read the same Parquet examples, fit
mean and standard deviation on training rows chosen by a hash of the id, write the normalized table, and write three
splits. Ours also checks the settings, finds extremes, counts classes and digests what it wrote.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COLUMNS = [f"x{index}" for index in range(12)]
SEED = 1
MEASURED = "seconds by part: "


def main() -> None:
    """Make the data, run both sides in turn, print the table."""
    arguments = _arguments()
    if arguments.side:
        {"ours": _ours, "peer": _peer}[arguments.side](arguments.folder)
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        _generate(folder, arguments.rows)
        pairs = [(_run("ours", folder), _run("peer", folder)) for _ in range(arguments.pairs)]
    _report(arguments.rows, pairs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _pipeline() -> object:
    from pipelines.params import Pipeline

    return Pipeline.model_validate(
        {
            "name": "bench",
            "description": "Twelve numbers and a class",
            "ingest": {
                "source": {"kind": "bundled", "dataset": "digits"},
                "features": {name: {"type": "number"} for name in COLUMNS},
                "label": {"type": "category", "name": "kind", "classes": ["a", "b", "c"]},
            },
            "normalize": {"transforms": {name: [{"kind": "standardize"}] for name in COLUMNS}},
            "split": {"seed": SEED, "validation_fraction": 0.1, "test_fraction": 0.1},
            "train": {
                "model": {"layers": []},
                "optimizer": {"kind": "adam", "learning_rate": 0.001},
                "global_batch_size": 128,
                "epochs": 1,
            },
            "evaluate": {},
            "register": {"thresholds": {}, "compare_by": "accuracy"},
        }
    )


def _generate(folder: Path, rows: int) -> None:
    """Write examples in parts of a million rows: sorted random ids, 12 normal columns of several scales, 3 classes."""
    import numpy as np
    import polars as pl

    target = folder / "data" / "bench" / "examples"
    target.mkdir(parents=True)
    part_rows = 1 << 20
    parts = -(-rows // part_rows)
    for part in range(parts):
        count = min(part_rows, rows - part * part_rows)
        random = np.random.default_rng([SEED, part])
        # Part by part from one range of ids each, so that the whole is sorted without holding it.
        bounds = [2**64 * edge // parts for edge in (part, part + 1)]
        ids = np.sort(random.integers(*bounds, size=count, dtype=np.uint64))
        columns = {name: random.normal(index, 10.0**index / 1e6, count) for index, name in enumerate(COLUMNS)}
        kinds = pl.Series(random.integers(0, 3, count)).replace_strict([0, 1, 2], ["a", "b", "c"])
        table = pl.DataFrame({"example_id": ids, **columns, "kind": kinds})
        table.write_parquet(target / f"part-{part:05d}.parquet", compression="zstd", row_group_size=1 << 17)


def _run(side: str, folder: Path) -> dict[str, float]:
    """Run one side in a new process; return wall and processor seconds, peak memory in MiB, seconds by part."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{side} failed with exit code {process.returncode}")
    parts = next(line.removeprefix(MEASURED) for line in output.splitlines() if line.startswith(MEASURED))
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS gives bytes, Linux KiB
    return {
        "seconds": seconds,
        "processor": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / unit,
        **json.loads(parts),
    }


def _ours(folder: Path) -> None:
    started = time.perf_counter()
    from pipelines.paths import PipelinePaths
    from pipelines.stages.normalize import normalize
    from pipelines.stages.split import split

    pipeline, paths = _pipeline(), PipelinePaths(folder, "bench")
    imported = time.perf_counter()
    normalize(pipeline, paths)
    normalized = time.perf_counter()
    split(pipeline, paths)
    _print_parts(imports=imported - started, normalize=normalized - imported, split=time.perf_counter() - normalized)


def _peer(folder: Path) -> None:
    """Do what a person would write for this one table: no settings, no checks, no manifest, no digests."""
    started = time.perf_counter()
    import polars as pl

    imported = time.perf_counter()
    examples = pl.scan_parquet(folder / "data" / "bench" / "examples" / "*.parquet")
    share = pl.col("example_id").hash(SEED) / 2.0**64
    training = examples.filter(share >= 0.2)
    found = training.select(
        *(pl.col(name).mean().alias(f"{name}_mean") for name in COLUMNS),
        *(pl.col(name).std().alias(f"{name}_std") for name in COLUMNS),
    ).collect(engine="streaming").row(0, named=True)  # fmt: skip
    target = folder / "peer"
    target.mkdir(exist_ok=True)
    examples.select(
        "example_id",
        *(((pl.col(name) - found[f"{name}_mean"]) / found[f"{name}_std"]).cast(pl.Float32) for name in COLUMNS),
        pl.col("kind").cast(pl.Enum(["a", "b", "c"])).to_physical().cast(pl.Int32).alias("label"),
    ).sink_parquet(target / "normalized.parquet")
    normalized = time.perf_counter()
    table = pl.scan_parquet(target / "normalized.parquet")
    ranges = {"train": share >= 0.2, "validation": (share >= 0.1) & (share < 0.2), "test": share < 0.1}
    for name, rows in ranges.items():
        table.filter(rows).sink_parquet(target / f"{name}.parquet")
    _print_parts(imports=imported - started, normalize=normalized - imported, split=time.perf_counter() - normalized)


def _print_parts(**seconds: float) -> None:
    print(MEASURED + json.dumps(seconds))


def _report(rows: int, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    print(f"normalize + split of {rows:,} rows x {len(COLUMNS)} columns, {len(pairs)} pairs, {os.cpu_count()} cores")
    print(f"{'median':8}{'seconds':>9}{'processor':>11}{'imports':>9}{'normalize':>11}{'split':>7}{'peak MiB':>10}")
    for side, runs in zip(("ours", "peer"), zip(*pairs, strict=True), strict=True):
        median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        print(
            f"{side:8}{median['seconds']:9.2f}{median['processor']:11.2f}{median['imports']:9.2f}"
            f"{median['normalize']:11.2f}{median['split']:7.2f}{max(run['peak_mib'] for run in runs):10.0f}"
        )
    for name, aim in (("seconds", " (aim: 1.3)"), ("processor", "")):
        ratios = [ours[name] / peer[name] for ours, peer in pairs]
        middle = statistics.median(ratios)
        print(f"ratio of {name}: median {middle:.2f}, minimum {min(ratios):.2f}, maximum {max(ratios):.2f}{aim}")


if __name__ == "__main__":
    main()
