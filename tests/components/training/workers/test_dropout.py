"""What is drawn for a global batch: the same by any way to count steps, and compiled by XLA once."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from headrace.components.training.batches import Windows, worker_slice

WINDOWS = Windows(65, 32)  # batches of 21, 22 and 22

TRAINING = """
import sys, numpy as np
from pathlib import Path
from headrace.components.schema.labels import CategoryLabel
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.training.settings import Training

layers = [{"kind": "dense", "units": 8}, {"kind": "dropout", "rate": 0.5}, {"kind": "drop_connect", "units": 4}]
training = Training.model_validate({
    "model": {"layers": layers}, "optimizer": {"kind": "adam", "learning_rate": 0.01},
    "global_batch_size": 32, "epochs": 4, "jit_compile": True,
})
columns = Columns(np.random.default_rng(0).random((65, 12), np.float32), (np.arange(65) % 2).astype(np.int32))
label = CategoryLabel(name="kind", classes=("a", "b"))
last = train_pipeline(columns, columns, label=label, training=training, worker=Worker(0, 1), folder=Path(sys.argv[1]),
                    observer=Observer())
assert last.state.step == 12
"""


def draws(step: int, *, given: bool, rank: int = 0, num_workers: int = 1) -> Any:
    """What a worker draws at a step, which it counts itself or, as what XLA compiles, is given."""
    import tensorflow as tf

    from headrace.components.training.workers.attribute_override import overridden
    from headrace.components.training.workers.dropout import GlobalBatch
    from headrace.components.training.workers.group import Group

    group, batch = Group(), GlobalBatch(WINDOWS, seed=1, rank=rank, num_workers=num_workers)
    batch.begin(2, group)
    noise = batch.noise(3)
    part = worker_slice([21, 22, 22][(step + 2) % 3], rank=rank, num_workers=num_workers)
    rows = part.stop - part.start

    @tf.function(autograph=False)
    def draw(done: tf.Tensor) -> Any:
        with overridden(*([(group, "steps_given", done)] if given else [])):
            uniform = batch.uniform(tf.constant([rows, 5]), layer=1)
            return uniform, noise(tf.constant(rows)), batch.masks(tf.constant(rows), (4,), rate=0.5, layer=2)

    for _ in range(0 if given else step):
        group.record(seconds=tf.constant(0.0, tf.float64), requests=tf.constant(0.0))
    done = tf.constant(step, tf.int64)
    variables = [one for one in draw.get_concrete_function(done).captured_inputs if one.dtype == tf.resource]
    assert bool(variables) is not given, "XLA on a GPU can't read a variable that is on the CPU"
    return [values.numpy() for values in draw(done)]


@pytest.mark.parametrize("step", range(4))
def test_a_step_that_is_given_draws_what_one_that_is_counted_draws(step) -> None:
    for given, counted in zip(draws(step, given=True), draws(step, given=False), strict=True):
        np.testing.assert_array_equal(given, counted)


@pytest.mark.parametrize("step", range(3))
def test_the_workers_rows_are_those_of_one(step) -> None:
    three = [draws(step, given=True, rank=rank, num_workers=3) for rank in range(3)]
    for one, parts in zip(draws(step, given=True), zip(*three, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), one)


def test_every_step_draws_new_values() -> None:
    first, second = draws(1, given=True), draws(2, given=True)
    assert all(not np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_steps_are_counted_from_where_a_training_goes_on() -> None:
    def drawn(first_step: int, steps_done: int) -> Any:
        import tensorflow as tf

        from headrace.components.training.workers.dropout import GlobalBatch
        from headrace.components.training.workers.group import Group

        group, batch = Group(), GlobalBatch(WINDOWS, seed=1, rank=0, num_workers=1)
        batch.begin(first_step, group)
        for _ in range(steps_done):
            group.record(seconds=tf.constant(0.0, tf.float64), requests=tf.constant(0.0))
        rows = tf.constant(21)
        masks = batch.masks(rows, (4, 5), rate=0.5, layer=2)
        return batch.uniform(tf.constant([21, 5]), layer=1).numpy(), masks.numpy(), batch.noise(3)(rows).numpy()

    for continued, undisturbed, another in zip(drawn(4, 1), drawn(0, 5), drawn(0, 1), strict=True):
        np.testing.assert_array_equal(continued, undisturbed)
        assert not np.array_equal(continued, another)


def test_what_is_kept_makes_up_for_what_is_dropped_and_each_layer_drops_others() -> None:
    import keras

    from headrace.components.models.layers.basic import DropConnect
    from headrace.components.training.workers.dropout import GlobalBatch

    def layers(seed: int) -> list[Any]:
        batch = GlobalBatch(Windows(64, 64), seed=seed, rank=0, num_workers=1)
        return [batch.dropout(0.75), batch.dropout(0.75)]

    ones = keras.ops.ones((64, 100))
    drawn = [np.asarray(layer(ones, training=True)) for seed in (1, 2) for layer in layers(seed)]
    for values in drawn:
        assert set(np.unique(values)) == {0.0, 4.0}
        assert values.mean() == pytest.approx(1.0, abs=0.1)
    assert len({values.tobytes() for values in drawn}) == 4, "by layer and by seed"

    batch = GlobalBatch(Windows(64, 64), seed=1, rank=0, num_workers=1)
    connect = batch.drop_connect(DropConnect(kind="drop_connect", units=1, rate=0.75))
    connect.build((64, 100))
    connect.set_weights([np.ones((100, 1)), np.zeros(1)])
    assert np.asarray(connect(ones, training=True)).mean() == pytest.approx(100.0, rel=0.1)


def test_the_largest_batch_has_as_many_rows_as_any() -> None:
    assert WINDOWS.largest_batch == 22
    assert Windows(64, 32).largest_batch == 32
    windows = Windows(1000, 32, 100)
    assert windows.largest_batch == max(one.stop - one.start for one in map(windows.batch_slice, range(windows.steps)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_xla_compiles_a_training_with_dropout_once_for_each_size_of_a_batch(tmp_path, repository) -> None:
    """It took half a second for every step, where what is drawn was of another shape or place by step."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(repository),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": f"--xla_dump_to={tmp_path / 'modules'} --xla_dump_hlo_as_text",
    }
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=240, capture_output=True)
    modules = list((tmp_path / "modules").glob("*passes*before_optimizations.txt"))
    assert len(modules) == 4, "batches of 21 and of 22 examples, in training and in validation"
