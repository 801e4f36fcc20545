"""One process of bench/keras_on_jax.py: Keras's own `fit` with the JAX backend, alone or one of several.

    keras_on_jax.py FOLDER RANK PROCESSES PORT CASE ROWS

Trains on ROWS rows of its own, and prints a line of JSON for every epoch, with its seconds. The first process leaves
the weights in FOLDER. The case `forever` trains until somebody ends it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

GLOBAL_BATCH = 32
EPOCHS = 4
LARGE_TABLE, SMALL_TABLE = 500_000, 5_000  # rows of 16 numbers


def main() -> None:
    folder, case = Path(sys.argv[1]), sys.argv[5]
    rank, processes, port, rows = (int(sys.argv[place]) for place in (2, 3, 4, 6))
    jax.config.update("jax_platforms", "cpu")
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=processes, process_id=rank)
        # Every process is fed its own rows; Keras can deal out a `tf.data` dataset alone.
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    keras.utils.set_random_seed(1)
    model = made(case)
    x, y = examples(case, rank, processes, rows)
    model.fit(
        x,
        y,
        batch_size=GLOBAL_BATCH // processes,
        epochs=1_000_000 if case == "forever" else EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[Reports()],
    )
    if rank == 0:
        np.savez(folder / f"weights-{processes}.npz", *[np.asarray(weight) for weight in model.get_weights()])


class Reports(keras.callbacks.Callback):
    """A line before the first step, and one for every epoch."""

    def on_train_begin(self, *_: Any) -> None:
        print(json.dumps({"epoch_seconds": None}), flush=True)

    def on_epoch_begin(self, *_: Any) -> None:
        self.begun_seconds = time.monotonic()

    def on_epoch_end(self, *_: Any) -> None:
        print(json.dumps({"epoch_seconds": time.monotonic() - self.begun_seconds}), flush=True)


def made(case: str) -> keras.Model:
    """A model of the case, compiled; the same initial weights on every process, by the seed."""
    layers = keras.layers
    if case.startswith("embedding"):
        table = LARGE_TABLE if case == "embedding-large" else SMALL_TABLE
        inner = [keras.Input((8,), dtype="int32"), layers.Embedding(table, 16), layers.Flatten()]
    else:
        # No bias before a batch normalization: its gradient is rounding alone.
        inner = [keras.Input((16, 16, 1)), layers.Conv2D(16, 3, use_bias=False), layers.BatchNormalization()]
        inner += [layers.ReLU(), layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.25)]
        inner += [layers.Dense(64, activation="relu")]
    stack = keras.Sequential([*inner, layers.Dense(10)])
    model = OwnStep(stack.inputs, stack.outputs) if case == "train_step" else stack
    optimizer = keras.optimizers.SGD(0.05, momentum=0.0 if case.startswith("embedding") else 0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=True)
    return model


class OwnStep(keras.Model):
    """A model with a `train_step` as JAX wants it: a function of the whole state."""

    def train_step(self, state: Any, data: Any) -> Any:
        trainable, others, optimized, metrics = state
        x, y = data[:2]

        def loss_of(trainable: Any, others: Any) -> Any:
            outputs, others = self.stateless_call(trainable, others, x, training=True)
            return self.compute_loss(x, y, outputs), others

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others)
        trainable, optimized = self.optimizer.stateless_apply(optimized, gradients, trainable)
        return {"loss": loss}, (trainable, others, optimized, metrics)


def examples(case: str, rank: int, processes: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """This process's rows, so that every global batch is that of one process, in its order."""
    generator = np.random.default_rng(1)
    count = rows * processes
    if case.startswith("embedding"):
        x = generator.integers(0, SMALL_TABLE, (count, 8), dtype=np.int32)
    else:
        x = generator.normal(size=(count, 16, 16, 1)).astype(np.float32)
    y = generator.integers(0, 10, count, dtype=np.int32)
    own = GLOBAL_BATCH // processes
    mine = np.arange(count) % GLOBAL_BATCH // own == rank
    return (x[mine], y[mine]) if case != "uneven" else (x[:rows], y[:rows])


if __name__ == "__main__":
    main()
