"""What several workers can't train as one process does is found by a small step, and nothing else is.

Each of two processes tries all cases in turn. The processes run this very file.
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.training.equality_probe import explained

EQUAL = ("dropout", "embedding", "synchronized normalization", "pairs of all workers", "Adam", "weights")
DIFFERENT = {
    "pairs of each worker": "the gradient of dense/bias, by ",
    "average of the inputs": "the state averages/average, which a layer keeps itself",
    "a loss divided by hand": "the gradient of dense/bias, by ",
    "a hundredth of a loss divided by hand": "the gradient of dense/bias, by ",
    "masked loss that train_step makes": "the gradient of dense/kernel, by ",
}

pytestmark = pytest.mark.timeout(600)  # the first test waits for the processes of all cases


@pytest.fixture(scope="module")
def found(tmp_path_factory, run_workers) -> list[dict[str, list[str]]]:
    return outcomes(tmp_path_factory.mktemp("probe"), run_workers, *EQUAL, *DIFFERENT)


def outcomes(folder: Path, run_workers: Callable[..., Any], *cases: str) -> list[dict[str, list[str]]]:
    run_workers(__file__, num_workers=2, arguments=(str(folder), *cases))
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_a_difference_is_found_and_rounding_is_none(tmp_path, run_workers):
    rounding, different = "synchronized normalization", "average of the inputs"
    for found in outcomes(tmp_path, run_workers, rounding, different):
        assert found[rounding] == []
        assert any(one.startswith(DIFFERENT[different]) for one in found[different])


@pytest.mark.long
@pytest.mark.parametrize("case", EQUAL)
def test_rounding_is_no_difference(found, case):
    assert [one[case] for one in found] == [[], []]


@pytest.mark.long
@pytest.mark.parametrize("case", DIFFERENT)
def test_a_difference_is_named_by_variable_on_all_workers(found, case):
    assert found[0][case] == found[1][case]
    assert found[0][case][0].startswith(DIFFERENT[case])


def test_the_message_names_three_differences_and_the_usual_causes():
    said = explained(["one", "two", "three", "four"], num_workers=3)

    assert said.startswith(
        "3 workers would not train as one process does: in a step of a few examples differ one; two;"
    )
    assert "three, and 1 more. Usual causes:" in said
    assert said.endswith("Train with one worker to be sure")


def work(rank: int, ports: list[int], folder: Path, cases: Sequence[str]) -> None:
    from headrace.components.training.batches import Windows
    from headrace.components.training.equality_probe import probe_differences
    from headrace.components.training.feeding.batch_source import ExampleBatches
    from headrace.components.training.feeding.split_arrays import Columns
    from headrace.components.training.plan import Plan
    from headrace.components.training.workers.exchange import joined
    from headrace.components.training.workers.rendezvous import listen

    plan = Plan(global_batch_size=16, epochs=1, seed=3)
    draw = np.random.default_rng(0)
    examples = 40
    numbers = draw.normal(size=(examples, 6)).astype(np.float32)
    ids = draw.integers(0, 5, size=(examples, 3))
    labels = draw.normal(size=(examples, 4)).astype(np.float32)
    weights = draw.uniform(size=examples).astype(np.float32)
    place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32))
    with joined(place) as exchange:
        results = {}
        for case in cases:
            features = ids if case == "embedding" or "masked" in case else numbers
            columns = Columns(features, labels, weights if case == "weights" else None)
            batches = ExampleBatches(columns, Windows(examples, plan.global_batch_size), None, "train")
            results[case] = probe_differences(partial(build, case), batches, exchange, plan=plan)
    (folder / f"{rank}.json").write_text(json.dumps(results))


def build(case: str, _: Any) -> Any:
    """A compiled model of four outputs, and how it takes features."""
    import keras
    from keras import layers, ops

    from headrace.components.training.workers.gather_batch import gather_batch

    class Averages(layers.Layer):
        def build(self, shape: Any) -> None:
            self.average = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False, name="average")

        def call(self, values: Any, training: bool = False) -> Any:
            if training:
                self.average.assign(0.9 * self.average + 0.1 * ops.mean(values, axis=0))
            return values

    class Pairs(keras.losses.Loss):
        """Softmax over the examples of the batch, as two towers are trained."""

        def call(self, labels: Any, outputs: Any) -> Any:
            own = ops.arange(ops.shape(outputs)[0])
            candidates, own = gather_batch(labels) if case == "pairs of all workers" else (labels, own)
            logits = outputs @ ops.transpose(candidates)
            return keras.losses.sparse_categorical_crossentropy(own, logits, from_logits=True)

    class Halved(keras.losses.Loss):
        def call(self, labels: Any, outputs: Any) -> Any:
            size = ops.cast(ops.shape(outputs)[0], "float32")
            squares = ops.mean(ops.square(labels - outputs), axis=-1)
            return squares + squares / size / 10 if "hundredth" in case else squares / size

    if "masked" in case:
        return masked(), lambda features: features
    inputs = keras.Input((3,), dtype="int64") if case == "embedding" else keras.Input((6,))
    hidden = inputs
    if case == "embedding":
        hidden = layers.Flatten()(layers.Embedding(5, 4)(inputs))
    hidden = {
        "dropout": layers.Dropout(0.5),
        "synchronized normalization": layers.BatchNormalization(synchronized=True),
        "average of the inputs": Averages(name="averages"),
    }.get(case, layers.Identity())(hidden)
    outputs = layers.Dense(4, name="tower")(layers.Dense(8, activation="tanh")(hidden))
    losses = {"pairs of all workers": Pairs, "pairs of each worker": Pairs}
    loss = Halved() if "by hand" in case else losses.get(case, keras.losses.MeanSquaredError)()
    optimizer = keras.optimizers.Adam() if case in ("Adam", "embedding") else keras.optimizers.SGD(0.1)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, loss, metrics=["mae"], jit_compile=False)
    return model, lambda features: features


def masked() -> Any:
    """A compiled model that keeps its loss object where nobody finds it."""
    import keras
    import tensorflow as tf

    class Masked(keras.Model):
        def train_step(self, data: Any) -> Any:
            features, labels = data
            with tf.GradientTape() as tape:
                loss = keras.losses.MeanSquaredError()(labels[:, :3, tf.newaxis], self(features, training=True))
            variables = self.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return {"own": loss}

    inputs = keras.Input((3,), dtype="int64")
    model = Masked(inputs, keras.layers.Dense(1)(keras.layers.Embedding(5, 4, mask_zero=True)(inputs)))
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return model


if __name__ == "__main__":
    work(int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
