"""Two networks against each other: equal on any number of workers, exact when it is continued, with samples kept."""

from functools import partial

import numpy as np
import pytest

from headrace.components.training.generated_samples import COUNT, kept_samples

WORKER = """
import json, os, sys
rank, ports, folder, training = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import numpy as np
from headrace.components.schema.labels import GeneratedLabel
from headrace.components.training import checkpoints
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.training.settings import Training
from headrace.components.training.workers.rendezvous import listen

place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32)) if len(ports) > 1 else None
features = np.random.default_rng(0).uniform(size=(257, 6, 6, 1)).astype(np.float32) ** 3
final = train_pipeline(
    Columns(features, np.arange(257, dtype=np.int32) % 3),
    None,
    label=GeneratedLabel(name="image", by="kind", classes=("a", "b", "c")),
    training=Training.model_validate(training),
    worker=Worker(rank, len(ports), rendezvous=place),
    folder=Path(folder) / "checkpoints",
    observer=Observer(),
)
checkpoints.save(Path(folder) / f"final-{rank}", final)
"""

# 257 examples in batches of at most 32: every batch and every worker's part differ in size.
GAN = {
    "kind": "gan",
    "noise": 5,
    "generator": [
        {"kind": "dense", "units": 16, "l2": 0.01},
        {"kind": "batch_normalization", "momentum": 0.9},
        {"kind": "activation", "activation": "relu"},
    ],
    "discriminator": [
        {"kind": "conv2d", "filters": 4, "kernel_size": 3, "activation": "relu"},
        {"kind": "dense", "units": 16, "activation": "relu"},
        {"kind": "dropout", "rate": 0.25},
    ],
    "gradient_penalty": 0.3,
}
TRAINING = {
    "model": {"architecture": GAN},
    # Not Adam: where a gradient is almost zero, it makes a whole step of the rounding that worker counts differ by.
    "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "label_smoothing": 0.1,
    "best_by": "last",
    "global_batch_size": 32,
    "epochs": 3,
    "seed": 3,
}


@pytest.fixture
def train(train_workers):
    return partial(train_workers, WORKER, TRAINING)


@pytest.mark.long
def test_both_networks_are_equal_on_one_and_three_workers(tmp_path, train, assert_equal_training):
    [alone] = train(tmp_path / "1", 1)
    assert alone.state.history[0]["loss"] == pytest.approx(
        alone.state.history[0]["generator_loss"] + alone.state.history[0]["discriminator_loss"], rel=1e-5
    )
    for worker in train(tmp_path / "3", 3):
        assert_equal_training(alone, worker, tolerance=1e-5)


@pytest.mark.slow
@pytest.mark.long
def test_a_training_that_was_stopped_continues_as_if_it_had_not_been(tmp_path, train, assert_equal_training):
    undisturbed = train(tmp_path / "undisturbed", 2)
    train(tmp_path / "stopped", 2, epochs=1)
    continued = train(tmp_path / "stopped", 2)
    assert_equal_training(undisturbed[0], continued[0], tolerance=1e-6)
    for one, other in zip(undisturbed[0].optimizer, continued[0].optimizer, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    assert (continued[0].state.best_epoch, continued[0].state.best_value) == (3, None)
    of_one, of_other = (kept_samples(tmp_path / name / "checkpoints") for name in ("undisturbed", "stopped"))
    assert list(of_one) == list(of_other) == [1, 2, 3]
    assert {images.shape for images in of_one.values()} == {(COUNT, 6, 6, 1)}
    for epoch, images in of_one.items():
        assert np.abs(images.astype(int) - of_other[epoch]).max() <= 1  # rounded to whole levels of grey
    assert (of_one[1] != of_one[3]).any()
