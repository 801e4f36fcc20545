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

EXAMPLES, GLOBAL_BATCH_SIZE, EPOCHS = 40, 16, 2  # batches of 13, 13 and 14, of which two workers have 6 or 7
STEPS = 3
NUM_WORKERS = 2
CASES = (
    "augmented images, dropout and noise of all kinds, batch normalization, several steps per execution",
    "attention and recurrent layers",
    "draws of one's own, in validation too",
    "masked loss",
    "train_step of two optimizers and figures of its own",
    "dropout, compiled by XLA",
    "masked loss that a train_step calls",
    "train_step that returns all metrics, those of compile together in a dict, and numbers in another",
)

pytestmark = pytest.mark.timeout(600)  # the first test waits for both processes of all cases


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_workers) -> list[dict[str, Any]]:
    """What each of two workers has written, and last what plain Keras gives."""
    folder = tmp_path_factory.mktemp("trained")
    run_workers(__file__, num_workers=NUM_WORKERS, arguments=(str(folder),))
    return [json.loads((folder / f"{name}.json").read_text()) for name in (*range(NUM_WORKERS), "plain")]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_workers_give_the_history_and_weights_of_plain_keras(trained, case):
    *workers, plain = (results[case] for results in trained)
    tolerance = 1e-4 if "XLA" in case else 1e-5  # which compiles other sums for other sizes
    for result in workers:
        assert plain["history"].keys() == result["history"].keys()
        for metric, values in plain["history"].items():
            np.testing.assert_allclose(result["history"][metric], values, rtol=tolerance, err_msg=metric)
        for one, other in zip(plain["weights"], result["weights"], strict=True):
            np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance / 10)
        assert result["seeds"] == plain["seeds"]


@pytest.mark.slow
def test_a_callback_of_one_worker_ends_the_training_of_all(trained):
    """After the step that follows, in which all hear of it, or after the same epoch; and it stays ended."""
    for result in trained[:2]:
        assert result["ended by a step"] == [1, True, 3]
        assert result["ended by an epoch"] == result["ended already"] == [1, True, 5]


@pytest.mark.slow
def test_a_resumed_training_draws_and_optimizes_as_the_undisturbed_one(trained):
    for result in trained[:2]:
        assert result["stopped"].startswith("after step ")
        (arrays, history), (expected_arrays, expected) = (
            result[f"{name} at the end"] for name in ("stopped", "undisturbed")
        )
        assert arrays == expected_arrays
        for one, other in zip(history, expected, strict=True):  # totals are added up in another order
            assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.slow
def test_a_weight_that_a_layer_updates_from_its_workers_examples_is_named(trained):
    for result in trained[:2]:
        assert re.search(r"differ after step 5: .*first in \S*running/mean; ", result["apart"])


def work(rank: int, ports: list[int], folder: Path) -> None:
    """Train all cases as one of the workers, and write what came out."""
    from headrace.components.training.workers.exchange import joined

    with joined(listening(rank, ports)) as exchange:
        results: dict[str, Any] = {case: train(case, exchange) for case in CASES}
    results |= whole_trainings(rank, ports, folder)
    (folder / f"{rank}.json").write_text(json.dumps(results))
    if rank == 0:
        (folder / "plain.json").write_text(json.dumps({case: train(case, None) for case in CASES}))


def listening(rank: int, ports: list[int]) -> Any:
    from headrace.components.training.workers.rendezvous import listen

    return listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32))


def whole_trainings(rank: int, ports: list[int], folder: Path) -> dict[str, Any]:
    """What `train_worker` gives where a callback ends it, where it is stopped and resumed, and where workers part."""
    import keras

    from headrace.components.errors import TrainingError
    from headrace.components.training.observer import Observer, Stopped
    from headrace.components.training.workers.exchange import joined

    class Ending(keras.callbacks.Callback):
        """Ends the training on one worker, after a step or an epoch."""

        def __init__(self, *, step: int = -1, epoch: int = -1) -> None:
            super().__init__()
            self._step, self._epoch = step, epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = self.model.stop_training or (rank == 1 and batch + 1 == self._step)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = self.model.stop_training or (rank == 1 and epoch + 1 == self._epoch)

    def run(name: str, make: Any = two_optimizers, *, stopped: bool = False, callbacks: Any = ()) -> Any:
        with joined(listening(rank, ports)):
            pass  # what worker 0 has written is there for all
        observer = Observer()
        if stopped:
            observer.stop.set()
        return whole_training(make, listening(rank, ports), folder / name, observer=observer, callbacks=callbacks)

    def end(checkpoint: Any) -> list[Any]:
        state = checkpoint.state
        return [state.epoch, state.is_ended, int(checkpoint.optimizer[0])]

    results: dict[str, Any] = {
        "ended by a step": end(run("step", make=linear, callbacks=[Ending(step=2)])),
        "ended by an epoch": end(run("epoch", make=linear, callbacks=[Ending(epoch=1)])),
        "ended already": end(run("epoch", make=linear)),
    }
    try:
        run("stopped", stopped=True)
    except Stopped as stop:
        results["stopped"] = str(stop)
    for name in ("stopped", "undisturbed"):
        last = run(name)
        arrays = (*last.weights, *last.optimizer, *last.other_optimizers, *last.random)
        history = [{key: value for key, value in one.items() if key != "seconds"} for one in last.state.history]
        results[f"{name} at the end"] = [[np.asarray(array).tolist() for array in arrays], history]
    try:
        run("apart", make=lambda: linear(by_itself()))
    except TrainingError as error:
        results["apart"] = str(error)
    return results


def whole_training(make: Any, place: Any, folder: Path, *, observer: Any, callbacks: Any) -> Any:
    from headrace.components.training.feeding.split_arrays import Columns
    from headrace.components.training.loop import Trainee, Worker, train_worker
    from headrace.components.training.plan import Plan

    columns = Columns(*example_data(""))
    return train_worker(
        columns,
        columns,
        make=lambda batch, steps: Trainee(make(), callbacks=callbacks),
        plan=Plan(global_batch_size=8, epochs=2),
        worker=Worker(place.rank, place.num_workers, rendezvous=place),
        folder=folder,
        observer=observer,
    )


def linear(*layers: Any) -> Any:
    """A compiled model of one layer after those given."""
    import keras

    model = keras.Sequential([keras.Input((12,)), *layers, keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    return model


def by_itself() -> Any:
    """A layer that keeps a mean of its inputs, of which each worker has its own."""
    import keras

    class RunningMean(keras.layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.mean = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="mean")

        def call(self, inputs: Any) -> Any:
            self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(inputs, axis=0))
            return inputs

    return RunningMean(name="running")


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
        known = None if case == "masked loss" else batch.place  # exchanged
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
    match CASES.index(case):
        case 0:
            tensor = layers.Reshape((2, 2, 3))(inputs)
            for layer in (layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomBrightness(0.2, (0, 1))):
                tensor = layer(tensor)
            tensor = layers.Flatten()(layers.SpatialDropout2D(0.3)(tensor))
            for layer in (layers.Dropout(0.3), layers.GaussianNoise(0.1), layers.GaussianDropout(0.2)):
                tensor = layers.Dense(8, "relu")(layer(tensor))
            # Without a bias, whose gradient is nothing but rounding.
            tensor = layers.BatchNormalization()(layers.Dense(8, use_bias=False)(tensor))
            tensor = layers.AlphaDropout(0.2)(tensor)
            settings["steps_per_execution"] = 1 if plain else 2
        case 1:
            tensor = layers.Reshape((4, 3))(inputs)
            tensor = layers.MultiHeadAttention(2, 3, dropout=0.3, use_bias=False)(tensor, tensor)
            tensor = layers.LSTM(4, dropout=0.3, recurrent_dropout=0.3)(tensor)
        case 2:
            draws = (
                lambda x, seed: x + random.uniform((12,), seed=seed),  # as to weights
                lambda x, seed: x * random.gamma((keras.ops.shape(x)[0], 1), 2.0, seed=seed),
                lambda x, seed: keras.ops.transpose(random.dropout(keras.ops.transpose(x), 0.3, seed=seed)),
                lambda x, seed: x + keras.ops.cast(random.randint(x.shape[1:], 0, 3, seed=seed), x.dtype),
            )
            for draw in draws:
                tensor = drawing(draw)(tensor)
        case 3:
            tensor = layers.Embedding(5, 4, mask_zero=True)(inputs)
        case 4:
            return two_optimizers()
        case 6:
            return masked_by_hand()
        case 7:
            return all_metrics()
        case _:
            tensor = layers.Dropout(0.3)(layers.Dense(8, "relu")(tensor))
    model = keras.Model(inputs, layers.Dense(3)(tensor))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Adam would blow up the rounding of gradients that are nearly zero, of which dropped inputs have many.
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"], **settings)
    return model


def two_optimizers() -> Any:
    """A compiled model with an optimizer for each of its parts, metrics of its own and other names for them."""
    import keras
    import tensorflow as tf

    class TwoOptimizers(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.body = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.3)])
            self.head = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
            self.own_optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
            self.own_loss, self.hits = keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy()
            self.built = True

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.head(self.body(inputs, training=training))

        def train_step(self, data: Any) -> Any:
            features, labels = data
            with tf.GradientTape(persistent=True) as tape:
                predictions = self(features, training=True)
                loss = self.compute_loss(features, labels, predictions)
            for part, optimizer in ((self.body, self.own_optimizer), (self.head, self.optimizer)):
                variables = part.trainable_variables
                optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            self.own_loss.update_state(loss)
            self.hits.update_state(labels, predictions)
            return {"own": self.own_loss.result(), "hit_rate": self.hits.result(), "last": loss}

    model = TwoOptimizers()
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def masked_by_hand() -> Any:
    """A compiled model whose train_step calls a loss object on an output with a mask."""
    import keras
    import tensorflow as tf

    class ByHand(keras.Model):
        def train_step(self, data: Any) -> Any:
            features, labels = data
            with tf.GradientTape() as tape:
                loss = self.own_loss(labels, self(features, training=True))
            variables = self.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            self.tracker.update_state(loss)
            return {"own": self.tracker.result()}

    inputs = keras.Input((12,))
    model = ByHand(inputs, keras.layers.Dense(3)(keras.layers.Embedding(5, 4, mask_zero=True)(inputs)))
    model.own_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.tracker = keras.metrics.Mean()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), model.own_loss)  # validation takes it as Keras does
    return model


def all_metrics() -> Any:
    """A compiled model whose train_step updates and returns its metrics in a loop, as guides to Keras have it."""
    import keras
    import tensorflow as tf

    class AllMetrics(keras.Model):
        def train_step(self, data: Any) -> Any:
            features, labels = data
            with tf.GradientTape() as tape:
                predictions = self(features, training=True)
                loss = self.compute_loss(features, labels, predictions)
            variables = self.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(labels, predictions)
            sizes = {"logits": tf.reduce_mean(tf.abs(predictions))}
            return {**{metric.name: metric.result() for metric in self.metrics}, "sizes": sizes}

    inputs = keras.Input((12,))
    model = AllMetrics(inputs, keras.layers.Dense(3)(keras.layers.Dense(8, "relu")(inputs)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def example_data(case: str) -> Any:
    """Features and labels in the form that the model of a case takes."""
    generator = np.random.default_rng(0)
    if case.startswith("masked loss"):
        tokens = generator.integers(0, 5, (EXAMPLES, 12))
        tokens[::3, 2:] = 0
        return tokens.astype(np.int32), (tokens % 3).astype(np.int32)
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
