"""Models of one's own, of Keras's stock layers and with a train_step of their own, equal plain `keras.Model.fit`.

Each process trains all cases in turn: starting one costs more than any case. The processes run this very file.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES, GLOBAL_BATCH_SIZE, EPOCHS = 43, 16, 2  # batches of 14, 14 and 15: no worker's parts are all of one size
STEPS = 3
NUM_WORKERS = (2, 3)
CASES = (
    "dropout and noise of numbers",
    "augmented images, dropout of channels",
    "attention and recurrent layers",
    "draws of one's own",
    "dropout in validation too",
    "several steps per execution",
    "dropout, compiled by XLA",
)
REFUSED = {
    "shuffled": "shuffles the examples of a batch",
    "folded": r"draws \(14, 6\) for a batch of 7 examples",
    "stateful": r"draws by a state of TensorFlow's \(RandomUniform\)",
    "looped": "draws within a loop",
    "categorical": "draws for a batch by StatelessMultinomial",
    "traced": "draws in a tf.function that was traced before the step was",
}
TOLERANCES = {"dropout, compiled by XLA": 1e-4}

pytestmark = pytest.mark.timeout(600)  # the first test waits for all processes of all cases


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_workers) -> dict[int, list[dict[str, Any]]]:
    """What every worker of two and three has written, by number of workers; plain Keras's is number 0."""
    folder = tmp_path_factory.mktemp("trained")
    for num_workers in NUM_WORKERS:
        run_workers(__file__, num_workers=num_workers, arguments=(str(folder),))
    ranks = {0: range(1), **{number: range(number) for number in NUM_WORKERS}}
    return {n: [json.loads((folder / f"{n}-{rank}.json").read_text()) for rank in ranks[n]] for n in ranks}


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", NUM_WORKERS)
@pytest.mark.parametrize("case", CASES)
def test_several_workers_give_the_history_and_weights_of_plain_keras(trained, case, num_workers):
    plain, tolerance = trained[0][0][case], TOLERANCES.get(case, 1e-5)
    for result in (result[case] for result in trained[num_workers]):
        assert plain["history"].keys() == result["history"].keys()
        for metric, values in plain["history"].items():
            np.testing.assert_allclose(result["history"][metric], values, rtol=tolerance, err_msg=metric)
        for one, other in zip(plain["weights"], result["weights"], strict=True):
            np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance / 10)
        assert result["seeds"] == plain["seeds"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_draw_that_cannot_be_equal_is_refused_by_the_name_of_its_layer(trained, name):
    for result in trained[2]:
        named = "" if name == "traced" else rf"layer \S*{name} \(Drawing\): "  # a function has no layer
        assert re.match(rf"{named}.*{REFUSED[name]}", result["refused"][name])


@pytest.mark.slow
def test_nothing_is_left_on_the_model_or_in_tensorflow(trained):
    assert [result["callbacks"] for workers in trained.values() for result in workers] == [0] * 6


def work(rank: int, ports: list[int], folder: Path) -> None:
    """Train all cases as one of the workers, and write what came out."""
    from tensorflow.python.eager import context

    from headrace.components.training.workers.exchange import joined
    from headrace.components.training.workers.rendezvous import listen

    place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32))
    with joined(place) as exchange:
        results: dict[str, Any] = {case: train(case, exchange) for case in CASES}
        if len(ports) == 2:
            results["refused"] = {name: refusal(name, exchange) for name in REFUSED}
    results["callbacks"] = len(context.context().op_callbacks)
    (folder / f"{len(ports)}-{rank}.json").write_text(json.dumps(results))
    if (rank, len(ports)) == (0, 2):
        plain = {**{case: train(case, None) for case in CASES}, "callbacks": 0}
        (folder / "0-0.json").write_text(json.dumps(plain))


def train(case: str, exchange: Any) -> dict[str, Any]:
    import keras

    from headrace.components.training.batches import Windows
    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset
    from headrace.components.training.workers.dropout import GlobalBatch
    from headrace.components.training.workers.group import require_equal_weights

    place = (exchange.rank, exchange.num_workers) if exchange else (0, 1)
    batches = serve(example_data(case), *place)
    settings = {"steps_per_epoch": STEPS, "epochs": EPOCHS, "validation_steps": STEPS, "verbose": 0, "shuffle": False}
    keras.utils.set_random_seed(3)
    model = build(case, plain=exchange is None)
    if exchange is None:
        history = model.fit(batches, validation_data=batches, **settings)
    else:
        batch = GlobalBatch(Windows(EXAMPLES, GLOBAL_BATCH_SIZE), seed=0, rank=place[0], num_workers=place[1])
        known = None if case == "draws of one's own" else batch.place  # exchanged
        with trained_by_all_workers(
            model, exchange, steps_per_epoch=STEPS, validation_steps=STEPS, known=known
        ) as group:
            batch.begin(0, group)
            history = model.fit(worker_dataset(batches), validation_data=worker_dataset(batches), **settings)
        require_equal_weights(model, exchange, step=EPOCHS * STEPS)
    generators = [layer._seed_generators for layer in model._flatten_layers()]
    return {
        "history": history.history,
        "weights": [np.asarray(weights, dtype=np.float64).tolist() for weights in model.get_weights()],
        "seeds": [np.asarray(generator.state).tolist() for of_layer in generators for generator in of_layer],
    }


def refusal(name: str, exchange: Any) -> str:
    """The message of the TrainingError that training `name` raises."""
    import keras

    from headrace.components.errors import TrainingError
    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset

    inputs = keras.Input((12,))
    model = keras.Model(inputs, keras.layers.Dense(3)(refused_layer(name)(inputs)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    batches = worker_dataset(serve(example_data(name), exchange.rank, exchange.num_workers))
    try:
        with trained_by_all_workers(model, exchange, steps_per_epoch=STEPS, validation_steps=1):
            model.fit(batches, steps_per_epoch=STEPS, verbose=0)
    except TrainingError as error:
        return str(error)
    return "nothing"


def refused_layer(name: str) -> Any:
    import tensorflow as tf
    from keras import random

    @tf.function(autograph=False)
    def traced(x: Any) -> Any:
        return x * tf.random.stateless_uniform(tf.shape(x), [1, 2])

    def looped(x: Any, seed: Any) -> Any:
        return tf.map_fn(lambda row: row * random.uniform((12,), seed=seed), x)

    calls: dict[str, Callable[[Any, Any], Any]] = {
        "shuffled": lambda x, seed: random.shuffle(x, seed=seed),
        "folded": lambda x, seed: tf.reshape(random.dropout(tf.reshape(x, (-1, 6)), 0.5, seed=seed), (-1, 12)),
        "stateful": lambda x, seed: x * tf.random.uniform(tf.shape(x)),
        "looped": looped,
        "categorical": lambda x, seed: x * tf.cast(random.categorical(x, 1, seed=seed), tf.float32),
        "traced": lambda x, seed: traced(x),
    }
    if name == "traced":
        traced.get_concrete_function(tf.TensorSpec([None, 12]))
    return drawing(calls[name], name=name)


def drawing(call: Callable[[Any, Any], Any], **settings: Any) -> Any:
    """Layer that draws by `call`, from its inputs and a seed generator."""
    import keras

    class Drawing(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(**settings)
            self.seed_generator = keras.random.SeedGenerator(5)

        def call(self, inputs: Any) -> Any:
            return call(inputs, self.seed_generator)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    return Drawing()


def build(case: str, *, plain: bool) -> Any:
    """The compiled model of a case; for plain Keras without what changes only how it is run."""
    import keras
    from keras import layers, random

    inputs = keras.Input((12,))
    tensor, settings = inputs, {"jit_compile": "XLA" in case}
    match case:
        case "dropout and noise of numbers":
            for layer in (layers.Dropout(0.3), layers.GaussianNoise(0.1), layers.GaussianDropout(0.2)):
                tensor = layers.Dense(8, "relu")(layer(tensor))
            tensor = layers.AlphaDropout(0.2)(tensor)
        case "augmented images, dropout of channels":
            tensor = layers.Reshape((2, 2, 3))(inputs)
            for layer in (layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomBrightness(0.2, (0, 1))):
                tensor = layer(tensor)
            tensor = layers.SpatialDropout2D(0.3)(layers.Conv2D(4, 2, padding="same")(tensor))
            tensor = layers.Flatten()(tensor)
        case "attention and recurrent layers":
            tensor = layers.Reshape((4, 3))(inputs)
            tensor = layers.MultiHeadAttention(2, 3, dropout=0.3, use_bias=False)(tensor, tensor)
            tensor = layers.LSTM(4, dropout=0.3, recurrent_dropout=0.3, return_sequences=True)(tensor)
            tensor = layers.GRU(4, dropout=0.3)(layers.SpatialDropout1D(0.2)(tensor))
        case "draws of one's own":
            tensor = drawing(lambda x, seed: x + random.uniform((12,), seed=seed))(tensor)  # as to weights
            tensor = drawing(lambda x, seed: x * random.gamma((keras.ops.shape(x)[0], 1), 2.0, seed=seed))(tensor)

            def columns_first(x: Any, seed: Any) -> Any:
                return keras.ops.transpose(random.dropout(keras.ops.transpose(x), 0.3, seed=seed))

            tensor = drawing(columns_first)(tensor)
            tensor = drawing(lambda x, seed: x + keras.ops.cast(random.randint(x.shape[1:], 0, 3, seed=seed), x.dtype))(
                tensor
            )
        case "dropout in validation too":
            tensor = drawing(lambda x, seed: random.dropout(x, 0.3, seed=seed))(tensor)
        case _:
            tensor = layers.Dropout(0.3)(layers.Dense(8, "relu")(tensor))
            settings["steps_per_execution"] = 2 if "several steps" in case and not plain else 1
    model = keras.Model(inputs, layers.Dense(3)(tensor))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], **settings)
    return model


def example_data(case: str) -> Any:
    """Features and labels in the form that the model of a case takes."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(EXAMPLES, 12)).astype(np.float32)
    kinds = (features[:, 0] + features[:, 1] * features[:, 2] > 0).astype(np.int32) + (features[:, 3] > 1)
    return features, kinds.astype(np.int32)


def serve(data: Any, rank: int, num_workers: int) -> Any:
    """One worker's part of each batch, without end."""
    import tensorflow as tf

    from headrace.components.training.batches import batch_slice, worker_slice

    def part(step: Any) -> Any:
        batch = batch_slice(step % STEPS, examples=EXAMPLES, steps=STEPS)
        own = worker_slice(batch.stop - batch.start, rank=rank, num_workers=num_workers)
        return tf.nest.map_structure(lambda values: tf.constant(values)[batch][own], data)

    return tf.data.Dataset.counter(dtype=tf.int64).map(part).prefetch(2)


if __name__ == "__main__":
    work(int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
