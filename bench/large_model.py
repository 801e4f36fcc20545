"""What a large model costs beside its steps: memory, the end of an epoch, and the bytes of a checkpoint.

    python bench/large_model.py --millions 25 100

Two layers as wide as they must be, and Adam. Peaks are multiples of the weights, above what the process has after a
small one. Each epoch is ten steps; its end is all between the last of them and the next epoch's first.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FEATURES, CLASSES, BATCH_SIZE, STEPS = 1000, 10, 64, 10
SECRET = bytes(32)  # both workers are of this program, and listen on loopback for a moment
LIMIT_SECONDS = 900
MEBIBYTE = 2**20
CASES = {  # workers, metric that chooses the best epoch, largest size in millions of parameters
    "one worker, each epoch is the best": (1, "loss", 1000),
    "one worker, an early epoch stays the best": (1, "validation_loss", 1000),
    "two workers": (2, "loss", 25),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=int, nargs="+", default=[25, 100], help="sizes of the model, in parameters")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--side", help=argparse.SUPPRESS)  # the settings of one worker, in this process
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(train(**json.loads(arguments.side))))
        return
    for millions in arguments.millions:
        for name in arguments.cases:
            workers, best_by, largest = CASES[name]
            if millions <= largest:
                compare(name, millions, workers=workers, best_by=best_by, epochs=arguments.epochs)


def compare(name: str, millions: int, *, workers: int, best_by: str, epochs: int) -> None:
    """A training, and one epoch more of it by other processes."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        settings = {"folder": folder, "millions": millions, "best_by": best_by}
        fresh = run(workers, **settings, epochs=epochs)
        sizes = [sum(file.stat().st_size for file in one.iterdir()) for one in sorted(Path(folder).glob("step-*"))]
        resumed = run(workers, **settings, epochs=epochs + 1)
    weights = fresh[0]["weights_bytes"]
    print(f"\n{name}, {millions} M parameters ({weights / MEBIBYTE:.0f} MiB)")
    for what, sides in (("peak", fresh), ("peak of a training that continues", resumed)):
        print(f"  {what} / weights: " + ", ".join(f"{side['peak_bytes'] / weights:.1f}" for side in sides))
    print("  checkpoints / weights: " + ", ".join(f"{size / weights:.2f}" for size in sizes))
    for what in ("end", "steps"):
        pairs = fresh[0][what]
        wall, processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        each = ", ".join(f"{pair[0]:.1f}" for pair in pairs)
        print(f"  {what} of an epoch: {wall:.2f} s ({each}), processor {processor:.2f} s")
    print(f"  processor seconds of all {epochs} epochs: {fresh[0]['processor_seconds']:.1f}")
    print(f"  after the last epoch: {fresh[0]['finish_seconds']:.2f} s", flush=True)


def run(workers: int, **settings: Any) -> list[dict[str, Any]]:
    """Train by processes of their own; what each reports."""
    with ExitStack() as open_sockets:
        listeners = [open_sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        ports = [listener.getsockname()[1] for listener in listeners]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    sides = [json.dumps({**settings, "rank": rank, "ports": ports if workers > 1 else []}) for rank in range(workers)]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--side", side],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for side in sides
    ]
    try:
        outputs = [process.communicate(timeout=LIMIT_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(process.returncode for process in processes):
        sys.exit("a worker failed:\n" + "\n".join(errors for _, errors in outputs))
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def train(folder: str, millions: int, best_by: str, epochs: int, rank: int, ports: list[int]) -> dict[str, Any]:
    """One worker's training in this process, after a small one: what TensorFlow takes for any model does not count."""
    if ports:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [cores[rank % len(cores)]])  # before TensorFlow counts the cores
    from headrace.components.compatibility.keras_import import import_keras

    import_keras()
    from headrace.components.training.loop import Worker, train_worker
    from headrace.components.training.observer import Observer
    from headrace.components.training.plan import Plan
    from headrace.components.training.workers.rendezvous import listen

    training, validation = examples()
    plan = Plan(global_batch_size=BATCH_SIZE, epochs=epochs, best_by=best_by)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as other:
        made = partial(trainee, 16, [])
        alone = {"plan": plan, "worker": Worker(0, 1), "folder": Path(other), "observer": Observer()}
        train_worker(training, validation, make=made, **alone)
    place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=SECRET) if ports else None
    before_bytes = resident_bytes()
    reset_peak()
    clock = Clock()
    final = train_worker(
        training,
        validation,
        make=partial(trainee, width_of(millions), [clock.callback()]),
        plan=plan,
        worker=Worker(rank, max(1, len(ports)), rendezvous=place),
        folder=Path(folder),
        observer=Observer(),
    )
    return {
        "weights_bytes": sum(array.nbytes for array in final.weights),
        "peak_bytes": peak_bytes() - before_bytes,
        "steps": clock.steps[1:] or clock.steps,  # the first one traces the graph
        "end": clock.end,
        "finish_seconds": since(clock.last)[0],
        "processor_seconds": now()[1] - clock.first[1],
    }


def examples() -> tuple[Any, Any]:
    """Random examples of an epoch, and of one batch to validate."""
    import numpy as np

    from headrace.components.training.feeding.split_arrays import Columns

    generator = np.random.default_rng(0)
    count, edge = BATCH_SIZE * (STEPS + 1), BATCH_SIZE * STEPS
    features = generator.random((count, FEATURES), np.float32)
    labels = generator.integers(0, CLASSES, count).astype(np.int32)
    return Columns(features[:edge], labels[:edge]), Columns(features[edge:], labels[edge:])


def trainee(width: int, callbacks: list[Any], *_: Any) -> Any:
    import keras

    from headrace.components.training.loop import Trainee
    from headrace.components.training.optimization.adam import FusedAdam

    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((FEATURES,)), dense(width, "relu"), dense(width, "relu"), dense(CLASSES)])
    model.compile(FusedAdam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Trainee(model, callbacks=callbacks)


def width_of(millions: int) -> int:
    half = (FEATURES + CLASSES) / 2
    return round((half**2 + millions * 1e6) ** 0.5 - half)


class Clock:
    """Wall and processor seconds of each epoch's steps and of its end."""

    def __init__(self) -> None:
        self.steps: list[list[float]] = []
        self.end: list[list[float]] = []
        self.first = self.last = now()

    def callback(self) -> Any:
        """What Keras calls before the recorder."""
        import keras

        def on_epoch_begin(epoch: int, logs: Any = None) -> None:  # noqa: ARG001
            self._end(bool(epoch))

        def on_train_batch_end(batch: int, logs: Any = None) -> None:  # noqa: ARG001
            if batch == STEPS - 1:
                self.steps.append(since(self.last))

        def on_epoch_end(epoch: int, logs: Any = None) -> None:  # noqa: ARG001
            self._start()

        def on_train_end(logs: Any = None) -> None:  # noqa: ARG001
            self._end(True)

        return keras.callbacks.LambdaCallback(
            on_epoch_begin, on_epoch_end, on_train_end=on_train_end, on_train_batch_end=on_train_batch_end
        )

    def _start(self) -> None:
        self.last = now()

    def _end(self, is_end: bool) -> None:
        if is_end and len(self.end) < len(self.steps):
            self.end.append(since(self.last))
        self._start()


def reset_peak() -> None:
    """Forget the peak so far (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    return status_bytes("VmHWM")


def resident_bytes() -> int:
    return status_bytes("VmRSS")


def status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def now() -> list[float]:
    return [time.monotonic(), time.process_time()]


def since(before: list[float]) -> list[float]:
    return [later - earlier for later, earlier in zip(now(), before, strict=True)]


if __name__ == "__main__":
    main()
