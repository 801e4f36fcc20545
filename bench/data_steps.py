"""The data steps against the same by hand in Polars and in Ray Data, CSV against Polars' own way to Parquet, and images
against a loop of tf.data that decodes them.

    python bench/data_steps.py --rows 10000000 --pairs 3 --parts steps csv images memory dvc

Each side runs as a process of its own, in turn: ours, peer, ours, peer, ... All read the same files. Ours checks every
value, gives ids, sorts by them, fits on training rows, writes shards with a manifest. Prints ratios and peak memory.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SIDES = ROOT / "bench" / "peers" / "data_sides.py"
MEASURED = "seconds by part: "
PARTS = ("steps", "ray_data", "csv", "images", "memory", "dvc")
PART_ROWS = 1 << 20
CSV_BYTES = 1 << 30
WARM_BYTES = 8 << 30
IMAGE_SIDE = 224  # what networks for photos take
IMAGE_CLASSES = 10

Run = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--memory-rows", type=int, default=100_000_000)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", type=Path, help="where data may be written, and is kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = arguments.folder or Path(name)
        for part in arguments.parts:
            {
                "steps": lambda: compare("steps", "polars", folder, arguments.rows, arguments.pairs, aim="at most 1.3"),
                "ray_data": lambda: compare(
                    "steps", "ray_data", folder, arguments.rows, arguments.pairs, aim="at most 0.2"
                ),
                "csv": lambda: compare("csv", "polars", folder, arguments.rows, arguments.pairs, aim="at most 1.5"),
                "images": lambda: compare_images(folder, arguments.images, arguments.pairs),
                "memory": lambda: compare_memory(folder, arguments.rows, arguments.memory_rows),
                "dvc": lambda: compare_dvc(folder, arguments.pairs),
            }[part]()


def compare(job: str, peer: str, folder: Path, rows: int, pairs: int, *, aim: str) -> None:
    """Run ours and the peer in turn, and print what they take."""
    if job == "csv":
        make_csv(folder / "rows.csv")
    else:
        make_rows(folder / "rows", rows)
    turns = [(measure(f"{job}_ours", folder), measure(f"{job}_{peer}", folder)) for _ in range(pairs)]
    size = f"{CSV_BYTES >> 20} MiB of CSV" if job == "csv" else f"{rows:,} rows x 12 columns"
    print(f"\n{job}, {size}, ours against {peer}, {pairs} pairs, {os.cpu_count()} cores")
    for side, runs in zip(("ours", peer), zip(*turns, strict=True), strict=True):
        medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        print(f"  {side:9}" + "  ".join(f"{name} {value:.1f}" for name, value in medians.items()))
    for name in ("seconds", "processor_seconds"):
        ratios = [ours[name] / theirs[name] for ours, theirs in turns]
        print(f"  ratio of {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), aim {aim}")


def compare_images(folder: Path, images: int, pairs: int) -> None:
    """Print how fast a folder of JPEGs is ingested, kept encoded, against a loop that only decodes them."""
    make_images(folder / "images", images)
    print(f"\n{images:,} JPEGs of {IMAGE_SIDE} x {IMAGE_SIDE}, {pairs} pairs, {os.cpu_count()} cores")
    sides = ("images_tf_data", "images_ours")
    turns = [{side: measure(side, folder) for side in sides} for _ in range(pairs)]
    for side in sides:
        medians = {name: statistics.median(turn[side][name] for turn in turns) for name in turns[0][side]}
        print(f"  {side:15}" + "  ".join(f"{name} {value:.1f}" for name, value in medians.items()))
    for name in ("seconds", "processor_seconds", "images", "images_processor"):
        ratios = [turn["images_tf_data"][name] / turn["images_ours"][name] for turn in turns]
        found = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  speed by {name}: {found} of tf.data's, aim at least 1.0")


def compare_memory(folder: Path, few: int, many: int) -> None:
    """Print the peak memory of the steps with few and with many rows."""
    peaks = []
    for rows in (few, many):
        make_rows(folder / "rows", rows)
        run = measure("steps_ours", folder)
        shutil.rmtree(folder / "ours")
        peaks.append(run["peak_mib"])
        print(f"\n{rows:,} rows: " + "  ".join(f"{name} {value:.1f}" for name, value in run.items()))
    print(f"  ratio of peak memory: {peaks[1] / peaks[0]:.2f}, aim at most 1.2 and under 1536 MiB")


def compare_dvc(folder: Path, pairs: int) -> None:
    """Print what `dvc add` and `dvc push` of the outputs take, against copying the same bytes twice."""
    make_rows(folder / "rows", 10_000_000)
    measure("steps_ours", folder)
    outputs = folder / "ours" / "data" / "bench" / "splits"
    ratios = []
    for number in range(pairs):
        project = folder / f"project{number}"
        remote, copies = project / "remote", project / "copies"
        project.mkdir()
        shutil.copytree(outputs, project / "splits")
        for command in (
            ["git", "init", "-q"],
            ["dvc", "init", "-q"],
            ["dvc", "remote", "add", "-q", "-d", "r", str(remote)],
        ):
            subprocess.run([program(command[0]), *command[1:]], cwd=project, check=True)
        started = time.perf_counter()
        for command in (["add", "-q", "splits"], ["push", "-q"]):
            subprocess.run([program("dvc"), *command], cwd=project, check=True)
        dvc_seconds = time.perf_counter() - started
        started = time.perf_counter()
        for name in ("cache", "remote"):
            shutil.copytree(outputs, copies / name)
        os.sync()
        ratios.append(dvc_seconds / (time.perf_counter() - started))
        shutil.rmtree(project)
    size_mib = sum(file.stat().st_size for file in outputs.rglob("*.parquet")) >> 20
    print(f"\ndvc add and push of {size_mib} MiB against two copies")
    print(
        f"  ratio of seconds: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), aim at most 2"
    )


def make_rows(folder: Path, rows: int) -> None:
    """Write Parquet files of a million rows each: 12 normal columns of several scales, 3 classes."""
    import numpy as np
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    for part in range(-(-rows // PART_ROWS)):
        count = min(PART_ROWS, rows - part * PART_ROWS)
        random = np.random.default_rng([1, part])
        columns = {f"x{index}": random.normal(index, 10.0**index / 1e6, count).round(8) for index in range(12)}
        table = pl.DataFrame({**columns, "kind": random.choice(["a", "b", "c"], count)})
        file = folder / f"rows-{part:05d}.parquet"
        if not file.exists() or part == -(-rows // PART_ROWS) - 1:
            table.write_parquet(file, compression="zstd")
    for file in sorted(folder.iterdir())[-(-rows // PART_ROWS) :]:
        file.unlink()


def make_images(folder: Path, images: int) -> None:
    """Write smooth JPEGs with some noise, as photos are, to a folder for each class."""
    import numpy as np
    from PIL import Image

    for number in range(images):
        file = folder / f"class{number % IMAGE_CLASSES}" / f"{number:06d}.jpg"
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        colours = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC), np.float32)
        noise = random.integers(-14, 15, smooth.shape, dtype=np.int8)
        Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).save(file, quality=90)
    for file in sorted(folder.rglob("*.jpg"), key=lambda file: file.name)[images:]:
        file.unlink()


def make_csv(file: Path) -> None:
    """Write the same rows as text, about a GiB, and the file's SHA-256."""
    import polars as pl

    if file.exists():
        return
    make_rows(file.parent / "rows", 8 * PART_ROWS)
    with file.open("wb") as stream:
        for number, part in enumerate(sorted((file.parent / "rows").iterdir())):
            if stream.tell() < CSV_BYTES:
                stream.write(pl.read_parquet(part).write_csv(include_header=not number).encode())
    with file.open("rb") as stream:
        file.with_name("rows.csv.sha256").write_text(hashlib.file_digest(stream, "sha256").hexdigest())


def measure(side: str, folder: Path) -> Run:
    """Run one side in a new process; return wall and processor seconds, peak memory in MiB, seconds by part."""
    for name in ("ours", "polars", "ray_data"):
        shutil.rmtree(folder / name, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    environment.pop("HEADRACE_MIRROR", None)
    warm_memory()
    started = time.perf_counter()
    command = [sys.executable, str(SIDES), side, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        peak = Peak(process.pid)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{side} failed with exit code {process.returncode}")
    parts = next(line.removeprefix(MEASURED) for line in output.splitlines() if line.startswith(MEASURED))
    processor = usage.ru_utime + usage.ru_stime + peak.children_seconds
    return {"seconds": seconds, "processor_seconds": processor, "peak_mib": peak.stop(), **json.loads(parts)}


def warm_memory() -> None:
    """Make the system hold free memory, more than either side needs.

    A virtual machine gives free memory back to its host, and gets it back slowly. A side's time would then depend on
    how much memory the one before it has freed.
    """
    touch = f"import numpy; numpy.empty({min(WARM_BYTES, psutil.virtual_memory().available // 2)}, 'u1')[::4096] = 1"
    subprocess.run([sys.executable, "-c", touch], check=True, timeout=300)


class Peak:
    """Watches how much memory a process and its children have of their own."""

    def __init__(self, pid: int) -> None:
        self._process, self._mib, self._over = psutil.Process(pid), 0.0, threading.Event()
        self._children: dict[int, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def children_seconds(self) -> float:
        """Processor seconds of all children that were seen."""
        return sum(self._children.values())

    def stop(self) -> float:
        """Stop sampling; the highest sum seen, in MiB."""
        self._over.set()
        self._thread.join()
        return self._mib

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            try:
                children = self._process.children(recursive=True)
                memory = sum(one.memory_info().rss for one in [self._process, *children])
                self._children |= {one.pid: sum(one.cpu_times()[:2]) for one in children}
            except psutil.Error:
                continue
            self._mib = max(self._mib, memory / 2**20)


def program(name: str) -> str:
    """Path of a program in this environment, or its name where PATH must find it."""
    here = Path(sys.executable).with_name(name)
    return str(here) if here.exists() else name


if __name__ == "__main__":
    main()
