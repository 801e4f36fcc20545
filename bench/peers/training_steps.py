"""One side of bench/training.py's steps: the MNIST CNN, trained epoch after epoch, one for each line it is sent.

`keras` is plain `keras.Model.fit` fed from NumPy; `ours` is `train_worker`, of one worker or of several. Both print the
seconds of each epoch: 60 steps and one batch of validation, without start, checkpoint and report.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CLASSES, BATCH_SIZE, STEPS, EPOCHS = 10, 100, 60, 1000
SECRET = bytes(32)  # both workers are of this program, and listen on loopback for a moment


class Ended(Exception):  # noqa: N818
    """No more lines to come."""


def main() -> None:
    arguments = _arguments()
    os.sched_setaffinity(0, arguments.cores)  # before TensorFlow counts the cores and starts its threads
    train, validation = _examples(arguments.mnist)
    if arguments.rank == 0:
        _wait()
    if arguments.side == "keras":
        _keras(train, validation)
    else:
        _ours(train, validation, rank=arguments.rank, ports=arguments.ports, figures=arguments.figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=("ours", "keras"))
    parser.add_argument("--cores", type=int, nargs="+", required=True)
    parser.add_argument("--mnist", type=Path, help="the folder of the four original files; else random images")
    parser.add_argument("--ports", type=int, nargs="*", default=[])
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--figures", type=float, help="report the worker's figures every so many seconds, 0 for never")
    return parser.parse_args()


def _examples(mnist: Path | None) -> list[tuple[Any, Any]]:
    """Images float32[examples, 28, 28, 1] and labels int32[examples], for training and validation."""
    import numpy as np

    count = BATCH_SIZE * (STEPS + 1)
    if mnist is None:
        random = np.random.default_rng(0)
        images, labels = random.random((count, 784), np.float32), random.integers(0, CLASSES, count)
    else:
        packed = [mnist / f"train-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1")]
        files = [gzip.decompress(file.read_bytes()) for file in packed]
        images = np.frombuffer(files[0], np.uint8, count * 784, offset=16) / np.float32(255)
        labels = np.frombuffer(files[1], np.uint8, count, offset=8)
    images, labels = images.reshape(count, 28, 28, 1).astype(np.float32), labels.astype(np.int32)
    edge = BATCH_SIZE * STEPS
    return [(images[:edge], labels[:edge]), (images[edge:], labels[edge:])]


def _turn(seconds: float) -> None:
    """Report an epoch, with the processor time of this process so far, and wait for the request of another."""
    print(json.dumps({"seconds": seconds, "processor_seconds": time.process_time()}), flush=True)
    _wait()


def _wait() -> None:
    if not sys.stdin.readline():
        raise Ended


def _keras(train: tuple[Any, Any], validation: tuple[Any, Any]) -> None:
    import keras

    class Turns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.started_seconds = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            _turn(time.monotonic() - self.started_seconds)

    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, 5, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 5, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(1024, "relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(CLASSES),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    try:
        model.fit(
            *train, batch_size=BATCH_SIZE, epochs=EPOCHS, validation_data=validation, verbose=0, callbacks=[Turns()]
        )
    except Ended:
        return


def _ours(
    train: tuple[Any, Any], validation: tuple[Any, Any], *, rank: int, ports: list[int], figures: float | None
) -> None:
    from headrace.components.schema.labels import CategoryLabel
    from headrace.components.training.feeding.split_arrays import Columns
    from headrace.components.training.loop import Worker
    from headrace.components.training.observer import Observer
    from headrace.components.training.pipeline_trainee import train_pipeline
    from headrace.components.training.workers.rendezvous import listen

    addresses = [("127.0.0.1", port) for port in ports]
    rendezvous = listen(addresses, rank=rank, secret=SECRET) if ports else None
    with tempfile.TemporaryDirectory() as folder:
        reporting = {} if figures is None else _reporting(Path(folder), figures)
        try:
            train_pipeline(
                Columns(*train),
                Columns(*validation),
                label=CategoryLabel(name="digit", classes=tuple(map(str, range(CLASSES)))),
                training=_training(),
                worker=Worker(rank, max(1, len(ports)), rendezvous=rendezvous),
                folder=Path(folder),
                observer=Observer(on_epoch=lambda _epoch, metrics, _system: _turn(metrics["seconds"]), **reporting),
            )
        except Ended:
            _print_checkpoint_seconds(Path(folder))


def _reporting(folder: Path, seconds: float) -> dict[str, Any]:
    """What a worker of a training does with its figures: to Ray, which is in this process, and to a file."""
    import ray

    from headrace.pipelines.ray_train.progress_files import report_sample
    from headrace.pipelines.ray_train.training_job import TrainJob
    from headrace.pipelines.ray_train.worker_figures import WorkerFigures

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    job = TrainJob.model_construct(run_name="bench", folder=folder, mailbox=None)
    figures = WorkerFigures(0, run="bench")
    return {
        "on_worker": lambda measured: report_sample(job, figures.sample(measured, num_workers=1)),
        "worker_seconds": seconds or float("inf"),
    }


def _training() -> Any:
    from headrace.components.training.settings import Training

    convolution = {"kind": "conv2d", "kernel_size": 5, "activation": "relu"}
    return Training.model_validate(
        {
            "model": {
                "layers": [
                    {**convolution, "filters": 32},
                    {"kind": "max_pooling2d"},
                    {**convolution, "filters": 64},
                    {"kind": "max_pooling2d"},
                    {"kind": "flatten"},
                    {"kind": "dense", "units": 1024, "activation": "relu"},
                    {"kind": "dropout", "rate": 0.5},
                ]
            },
            "optimizer": {"kind": "adam", "learning_rate": 0.001},
            "global_batch_size": BATCH_SIZE,
            "epochs": EPOCHS,
        }
    )


def _print_checkpoint_seconds(folder: Path) -> None:
    """Print the seconds to write the newest checkpoint of this training once more."""
    from headrace.components.training import checkpoints

    checkpoint, _ = checkpoints.newest(folder)
    for number in range(3):
        started_seconds = time.monotonic()
        checkpoints.save(folder / f"copy-{number}", checkpoint)
        print(json.dumps({"checkpoint_seconds": time.monotonic() - started_seconds}), flush=True)


if __name__ == "__main__":
    main()
