"""Keras's own `fit` on two processes with the JAX backend: how equal, how fast, and what happens when something does.

    HEADRACE_JAX_PYTHON=/tmp/jax/bin/python python bench/keras_on_jax.py

Installs nothing. The interpreter needs the packages jax, keras and numpy; without it the script ends at once.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / "bench" / "peers" / "keras_on_jax.py"
INTERPRETER = "HEADRACE_JAX_PYTHON"
BATCH = 32  # as in peers/keras_on_jax.py
STEPS = 50  # of an epoch
LIMIT_SECONDS = 120  # for what should end
HANG_SECONDS = 60
SIGNAL_SECONDS = 10
MISS_SECONDS = 120  # JAX misses a process 100 s after its last heartbeat
PARTS = ("equal", "embedding", "uneven", "signal", "lost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that its processes end with it
    python = os.environ.get(INTERPRETER)
    if not python:
        print(
            f"Keras on JAX is left out: {INTERPRETER} is not set. Name the Python of an environment with it: "
            "uv venv /tmp/jax; uv pip install --python /tmp/jax/bin/python jax keras numpy"
        )
        return
    imported = "import jax, keras; print('Keras', keras.__version__, 'on JAX', jax.__version__)"
    found = subprocess.run(
        [python, "-c", imported], env=environment(), capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
    )
    if found.returncode != 0:
        print(f"Keras on JAX is left out: {python} can't import keras and jax: install them with numpy there")
        return
    print(found.stdout.strip(), flush=True)
    compare: dict[str, Callable[[str], None]] = {
        "equal": compare_weights,
        "embedding": compare_tables,
        "uneven": compare_uneven,
        "signal": see_signal,
        "lost": see_lost,
    }
    for part in arguments.parts:
        compare[part](python)


def compare_weights(python: str) -> None:
    """Two processes of one core each against one with both, with Keras's own step and one of the model's."""
    for case in ("stock", "train_step"):
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            one = median_step(python, folder, 1, case)
            two = median_step(python, folder, 2, case)
            left = [np.load(Path(folder) / f"weights-{processes}.npz") for processes in (1, 2)]
            differences = [relative(left[0][name], left[1][name]) for name in left[0].files]
        print(f"{case}: largest relative difference of a weight array, 2 processes and 1: {max(differences):.1e}")
        print(f"{case}: seconds of a step, 2 processes / 1: {two / one:.2f} ({two * 1000:.1f} and {one * 1000:.1f} ms)")
        sys.stdout.flush()


def compare_tables(python: str) -> None:
    """Two processes train an embedding of 500,000 rows and one of 5,000, on the same ids."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        large, small = (median_step(python, folder, 2, f"embedding-{size}") for size in ("large", "small"))
    print(
        f"seconds of a step with an embedding of 500,000 rows / of 5,000: {large / small:.1f} "
        f"({large * 1000:.1f} and {small * 1000:.1f} ms)",
        flush=True,
    )


def compare_uneven(python: str) -> None:
    """Last batches that don't divide evenly; a group that hangs gets a SIGTERM."""
    half = BATCH // 2
    for name, rows in (
        ("last batch of 2 rows and 1", (2 * half + 2, 2 * half + 1)),
        ("one step more on one process", (2 * half + 1, 2 * half)),
    ):
        with group(python, "uneven", rows) as (processes, outputs):
            wait_until(lambda seen=outputs: all(b"{" in output.read_bytes() for output in seen), processes, outputs)
            begun = time.monotonic()
            ended = waited_for(processes, HANG_SECONDS)
            epochs = [len(reports(output)) for output in outputs]
            print(f"{name}: {outcome(processes, outputs, begun)}; epochs ended {epochs} of 4", flush=True)
            if not ended:
                send(processes, outputs, signal.SIGTERM, SIGNAL_SECONDS, "SIGTERM to one while they hang")


def see_signal(python: str) -> None:
    """SIGTERM to one of two processes that train."""
    with training(python) as (processes, outputs):
        send(processes, outputs, signal.SIGTERM, SIGNAL_SECONDS, "SIGTERM to one while they train")


def see_lost(python: str) -> None:
    """SIGKILL to one of two processes that train, the one that coordinates or the other."""
    for place, name in ((1, "the other"), (0, "the coordinator")):
        with training(python) as (processes, outputs):
            send(processes, outputs, signal.SIGKILL, MISS_SECONDS, f"SIGKILL to {name} while they train", place)


@contextmanager
def training(python: str) -> Iterator[tuple[list[subprocess.Popen[bytes]], list[Path]]]:
    """Two processes that train for ever, after their first epochs."""
    with group(python, "forever", (BATCH * STEPS // 2,) * 2) as (processes, outputs):
        wait_until(lambda: all(len(reports(output)) > 1 for output in outputs), processes, outputs)
        yield processes, outputs


def wait_until(seen: Callable[[], bool], processes: list[subprocess.Popen[bytes]], outputs: list[Path]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not seen():
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            sys.exit(f"the processes do not train: {errors(outputs)}")
        time.sleep(0.1)


def send(
    processes: list[subprocess.Popen[bytes]],
    outputs: list[Path],
    number: signal.Signals,
    limit_seconds: float,
    name: str,
    place: int = 1,
) -> None:
    """Send the signal to one process, and print what becomes of the group."""
    epochs, begun = len(reports(outputs[0])), time.monotonic()
    processes[place].send_signal(number)
    waited_for(processes, limit_seconds)
    more = len(reports(outputs[0])) - epochs
    print(f"{name}: {outcome(processes, outputs, begun)}; epochs ended since: {more}", flush=True)


def median_step(python: str, folder: str, count: int, case: str) -> float:
    """Seconds of a step, the median of the epochs after the first, which compiles."""
    with group(python, case, (BATCH * STEPS // count,) * count, folder) as (processes, outputs):
        if not waited_for(processes, LIMIT_SECONDS) or any(process.returncode for process in processes):
            sys.exit(f"{case} on {count} processes failed: {errors(outputs)}")
        return statistics.median(reports(outputs[0])[1:]) / STEPS


@contextmanager
def group(
    python: str, case: str, rows: Sequence[int], folder: str | None = None
) -> Iterator[tuple[list[subprocess.Popen[bytes]], list[Path]]]:
    """Processes that train, one for each count of rows, each on its share of two cores; ended with the block."""
    both, port = sorted(os.sched_getaffinity(0))[:2], free_port()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as own, ExitStack() as running:
        outputs = [Path(own) / f"{rank}.out" for rank in range(len(rows))]
        processes = []
        for rank, output in enumerate(outputs):
            cores = both if len(rows) == 1 else [both[rank % len(both)]]
            arguments = [folder or own, rank, len(rows), port, case, rows[rank]]
            command = ["taskset", "--cpu-list", ",".join(map(str, cores)), python, str(PEER), *map(str, arguments)]
            written = running.enter_context(output.open("wb"))
            said = running.enter_context(output.with_suffix(".err").open("wb"))
            process = subprocess.Popen(command, env=environment(), stdout=written, stderr=said)
            running.callback(process.wait)
            running.callback(process.kill)
            processes.append(process)
        yield processes, outputs


def waited_for(processes: list[subprocess.Popen[bytes]], limit_seconds: float) -> bool:
    """Whether all of them ended within the limit."""
    deadline = time.monotonic() + limit_seconds
    while any(process.poll() is None for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def outcome(processes: list[subprocess.Popen[bytes]], outputs: list[Path], begun: float) -> str:
    """What became of the processes, in words."""
    codes = ["still there" if process.poll() is None else f"exit {process.returncode}" for process in processes]
    said = errors(outputs) if any(process.poll() for process in processes) else ""
    return f"after {time.monotonic() - begun:.1f} s: {' and '.join(codes)}" + (f" ({said})" if said else "")


def errors(outputs: list[Path]) -> str:
    """The last line that each process wrote to standard error, cut."""
    lines = [output.with_suffix(".err").read_text(encoding="utf-8", errors="replace").split("\n") for output in outputs]
    last = [next((line.strip() for line in reversed(each) if line.strip()), "nothing said")[:160] for each in lines]
    return " | ".join(last)


def reports(output: Path) -> list[float]:
    """Seconds of the epochs that have ended; Gloo writes lines of its own to the same place."""
    written = output.read_text(encoding="utf-8").splitlines(True)
    ended = [json.loads(line)["epoch_seconds"] for line in written if line.startswith("{") and line.endswith("\n")]
    return [seconds for seconds in ended if seconds is not None]


def relative(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.max(np.abs(one - other)) / max(float(np.max(np.abs(one))), 1e-30))


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    return {**kept, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
