"""A whole training, as each worker runs it: equal on any number of workers, and exact when it is continued."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from headrace.components.errors import DataError
from headrace.components.models.build import build
from headrace.components.models.output import Output
from headrace.components.models.settings import Model
from headrace.components.training import checkpoints
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Worker, train_worker
from headrace.components.training.observer import Observer
from headrace.components.training.plan import Plan
from headrace.components.training.workers.rendezvous import listen

WORKER = """
import json, os, sys
rank, ports, folder, training = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import numpy as np
from headrace.components.schema.labels import CategoryLabel
from headrace.components.training import checkpoints
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.training.settings import Training
from headrace.components.training.workers.rendezvous import listen

place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32)) if len(ports) > 1 else None
generator = np.random.default_rng(0)
features = generator.normal(size=(257, 6, 6, 1)).astype(np.float32)
labels = (features[:, 2, 2, 0] + features[:, 3, 3, 0] > 0).astype(np.int32) + (features[:, 0, 0, 0] > 1)
labels = labels.astype(np.int32)
final = train_pipeline(
    Columns(features, labels),
    Columns(features[:97], labels[:97]),
    label=CategoryLabel(name="kind", classes=("a", "b", "c")),
    training=Training.model_validate(training),
    worker=Worker(rank, len(ports), rendezvous=place),
    folder=Path(folder) / "checkpoints",
    observer=Observer(),
)
checkpoints.save(Path(folder) / f"final-{rank}", final)
"""

# 257 examples in batches of at most 32, and 97 to validate: every batch and every worker's part differ in size.
TRAINING = {
    "model": {
        "augment": {"shift": 0.2, "rotation_degrees": 20, "zoom": 0.2, "flip": "horizontal", "brightness": 0.1},
        "layers": [
            {"kind": "conv2d", "filters": 4, "kernel_size": 3, "activation": "relu"},
            {"kind": "batch_normalization"},
            {"kind": "dropout", "rate": 0.25},
            {"kind": "flatten"},
            {"kind": "dense", "units": 16, "activation": "relu", "l2": 0.01},
            {"kind": "dropout", "rate": 0.5},
            {"kind": "drop_connect", "units": 8, "activation": "relu"},
        ],
    },
    "optimizer": {"kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.01, "ema_momentum": 0.9},
    "global_batch_size": 32,
    "epochs": 3,
    "seed": 3,
}


@pytest.fixture
def train(train_workers):
    return partial(train_workers, WORKER, TRAINING)


def test_a_batch_of_fewer_examples_than_workers_is_refused_before_they_meet(tmp_path, free_ports):
    place = listen([("127.0.0.1", port) for port in free_ports(2)], rank=0, secret=bytes(32))
    one = Columns(np.zeros((1, 2), np.float32), np.zeros(1, np.int32))
    plan = Plan(global_batch_size=8, epochs=1)
    worker = Worker(0, 2, start_timeout_seconds=5.0, rendezvous=place)
    expected = (
        "the train split has 1 examples, and global batches of as few as 1 for 2 workers; lower train.num_workers"
    )
    with place.listener, pytest.raises(DataError, match=expected):
        train_worker(one, None, make=lambda *_: None, plan=plan, worker=worker, folder=tmp_path, observer=Observer())


@pytest.mark.long
def test_what_is_drawn_and_batch_normalization_are_equal_on_one_two_and_three_workers(
    tmp_path, train, assert_equal_training
):
    # Not Adam: where a gradient is almost zero, it makes a whole step of the rounding that worker counts differ by.
    optimizer = {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01, "ema_momentum": 0.8}
    [alone] = train(tmp_path / "1", 1, optimizer=optimizer)
    for num_workers in (2, 3):
        workers = train(tmp_path / str(num_workers), num_workers, optimizer=optimizer)
        for worker in workers:
            assert_equal_training(alone, worker, tolerance=1e-5)


@pytest.mark.slow
def test_a_training_that_was_stopped_continues_as_if_it_had_not_been(
    tmp_path, train, assert_equal_training, repository
):
    undisturbed = train(tmp_path / "undisturbed", 2)
    train(tmp_path / "stopped", 2, epochs=1)
    continued = train(tmp_path / "stopped", 2)
    assert_equal_training(undisturbed[0], continued[0], tolerance=1e-6)
    for one, other in zip(undisturbed[0].optimizer, continued[0].optimizer, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    assert continued[0].state.best_epoch == undisturbed[0].state.best_epoch
    for rank in range(2):  # a training that has ended waits for nobody: the others may be gone, as they have ended, too
        alone = [str(rank), json.dumps([1, 2]), str(tmp_path / "stopped"), json.dumps(TRAINING)]
        subprocess.run(
            [sys.executable, "-c", WORKER, *alone],
            env={**os.environ, "PYTHONPATH": str(repository)},
            check=True,
            timeout=60,
        )
        again = checkpoints.load(tmp_path / "stopped" / f"final-{rank}")
        assert_equal_training(continued[0], again, tolerance=0)


@pytest.mark.long
def test_epochs_of_so_many_steps_follow_each_other_through_the_passes(tmp_path, train):
    """Three epochs of six steps are two passes of nine, also where a training continues in the middle of one."""
    [passes] = train(tmp_path / "passes", 1, epochs=2)
    train(tmp_path / "stopped", 1, epochs=1, steps_per_epoch=6)
    [epochs] = train(tmp_path / "stopped", 1, epochs=3, steps_per_epoch=6)
    assert (epochs.state.step, epochs.state.epoch) == (passes.state.step, 3) == (18, 3)
    for left, right in zip(passes.weights, epochs.weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)


@pytest.mark.long
def test_averages_of_the_weights_are_what_is_validated_and_kept_and_training_goes_on_from_the_weights(tmp_path, train):
    plain, averaged = (
        {"kind": "sgd", "learning_rate": 0.05},
        {"kind": "sgd", "learning_rate": 0.05, "ema_momentum": 0.8},
    )
    [one] = train(tmp_path / "plain", 1, optimizer=plain)
    [other] = train(tmp_path / "averaged", 1, optimizer=averaged)
    for left, right in zip(one.state.history, other.state.history, strict=True):
        np.testing.assert_allclose(left["loss"], right["loss"], rtol=1e-5)
        assert abs(left["validation_loss"] - right["validation_loss"]) > 1e-4
    trained = [array for array in one.weights if array.ndim > 1]  # moments of batches are not averaged
    for weight in trained:
        same = [kept for kept in other.optimizer if kept.shape == weight.shape]
        assert any(np.allclose(kept, weight, rtol=1e-4, atol=1e-5) for kept in same)
    generator = np.random.default_rng(0)  # the examples of WORKER
    features = generator.normal(size=(257, 6, 6, 1)).astype(np.float32)
    labels = (features[:, 2, 2, 0] + features[:, 3, 3, 0] > 0).astype(np.int32) + (features[:, 0, 0, 0] > 1)
    core = build(Model.model_validate(TRAINING["model"]), input_shape=(6, 6, 1), output=Output(3))
    core.set_weights(other.weights)
    right = np.asarray(core(features[:97])).argmax(axis=1) == labels[:97]
    np.testing.assert_allclose(right.mean(), other.state.history[-1]["validation_accuracy"], atol=1e-6)


def test_a_worker_of_several_without_a_rendezvous_is_refused():
    """It would train by itself, on a part of each batch."""
    from headrace.components.errors import TrainingError
    from headrace.components.training.loop import Worker

    with pytest.raises(TrainingError, match=r"worker 1 of 2, and a rendezvous as worker 0 of 1"):
        Worker(1, 2)
