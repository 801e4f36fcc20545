"""Trainings on a PyDataset or a tf.data.Dataset: what plain Keras trains, from any step on, or refused.

One process and each of two processes try all cases in turn. They run this very file.
"""

import itertools
import json
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first test waits for the processes of all cases

SEED, EPOCHS, EXAMPLES, BATCH = 3, 3, 22, 5  # the last batch of a pass has 2 examples
QUICK = ("py in another order", "py in another order, by Keras", "another second epoch")


@pytest.fixture(scope="module")
def quick(tmp_path_factory, run_workers) -> dict[str, Any]:
    """What the first of two workers has found of a few cases."""
    return outcomes(tmp_path_factory.mktemp("quick"), run_workers, 2, QUICK)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_workers) -> dict[int, dict[str, Any]]:
    """What the first worker of each group has found, by the number of workers."""
    return {number: outcomes(tmp_path_factory.mktemp("given"), run_workers, number, ()) for number in (1, 2)}


def outcomes(folder: Path, run_workers: Callable[..., None], num_workers: int, cases: Sequence[str]) -> dict[str, Any]:
    run_workers(__file__, num_workers=num_workers, arguments=(str(folder), *cases))
    return json.loads((folder / "0.json").read_text())


def assert_trained_as_by_keras(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for one, other in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(found["validation_loss"], expected["val_loss"], rtol=1e-5)


def test_two_workers_train_what_plain_keras_trains_and_differing_ones_nothing(quick):
    found, expected, refused = (quick[name] for name in QUICK)

    assert_trained_as_by_keras(found, expected)
    assert refused.startswith("train: the batch of step 6 of worker 1 is not that of worker 0; a batch has to follow")


@pytest.mark.long
@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("case", ["py", "py in another order", "py by threads", "tf", "tf without end"])
def test_the_weights_and_losses_are_those_of_plain_keras(case, num_workers, trained):
    assert_trained_as_by_keras(trained[num_workers][case], trained[1][f"{case}, by Keras"])


@pytest.mark.long
@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("case", ["py", "tf"])
def test_what_was_stopped_within_an_epoch_goes_on_with_the_next_batch(case, num_workers, trained):
    continued, whole = (trained[num_workers][f"{case}, {name}"] for name in ("stopped", "whole"))

    assert continued["stopped"] == "after step 7"
    assert continued["weights"] == whole["weights"]  # bit for bit
    np.testing.assert_allclose(continued["loss"], whole["loss"], rtol=1e-6)


@pytest.mark.long
def test_a_batch_before_the_first_step_is_never_read(trained):
    assert trained[2]["indices read"] == [0, 4, 3, 4]  # its form from the first and the last, then what is left


@pytest.mark.long
@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            "another first batch",
            "train: the batch of step 1 of worker 1 is not that of worker 0; a batch has to follow",
        ),
        ("an uneven last batch", "train: a global batch has fewer examples than there are workers (2)"),
    ],
)
def test_workers_whose_batches_differ_or_are_too_small_are_refused(case, said, trained):
    assert trained[2][case].startswith(said)


@pytest.mark.long
def test_an_error_of_the_dataset_is_raised_as_it_is(trained):
    assert trained[1]["an error of its own"] == "KeyError: 'no such file'"
    assert trained[1]["drawn again"].startswith("train: the first batch is another one each time it is read")


def work(rank: int, ports: list[int], folder: Path, wanted: Sequence[str]) -> None:
    import keras
    import tensorflow as tf

    from headrace.components.errors import DataError
    from headrace.components.training.batches import Windows, epoch_order
    from headrace.components.training.feeding.given_batches import GivenBatches
    from headrace.components.training.feeding.own_random import OwnRandom
    from headrace.components.training.feeding.py_dataset import PyDatasetBatches
    from headrace.components.training.loop import Trainee, Worker, train_worker
    from headrace.components.training.observer import Observer, Stopped
    from headrace.components.training.plan import Plan
    from headrace.components.training.workers.rendezvous import listen

    num_workers, names = len(ports), itertools.count()
    draw = np.random.default_rng(0)
    x, offset = draw.normal(size=(EXAMPLES, 3)), draw.normal(size=(EXAMPLES, 1)).astype(np.float32)
    y, weight = x.sum(axis=1, keepdims=True), draw.uniform(0.5, 2, EXAMPLES)

    class Given(keras.utils.PyDataset):
        """Dict inputs, float64, sample weights; the examples are put in another order after each epoch."""

        def __init__(self, order: Callable[[int], Any] | None = None, examples: int = EXAMPLES, **others: Any) -> None:
            super().__init__(**others)
            self.places, self.order, self.epoch, self.read = np.arange(examples), order, 0, []
            np.random.shuffle(self.places)

        def __len__(self) -> int:
            return math.ceil(len(self.places) / BATCH)

        def __getitem__(self, index: int) -> Any:
            self.read.append(index)
            if self.order is not None:
                index = self.order(self.epoch)[index]
            own = self.places[index * BATCH : (index + 1) * BATCH]
            return {"x": x[own], "offset": offset[own]}, y[own], weight[own]

        def on_epoch_end(self) -> None:
            self.epoch += 1
            np.random.shuffle(self.places)

    class HeldOut(Given):
        """The same in one order, since plain Keras has all datasets draw from one stream."""

        def on_epoch_end(self) -> None:
            pass

    def by_tf(*, again: bool = False) -> tf.data.Dataset:
        examples = tf.data.Dataset.from_tensor_slices(({"x": x.astype(np.float32), "offset": offset}, y, weight))
        return examples.shuffle(EXAMPLES, seed=1, reshuffle_each_iteration=again).batch(BATCH)

    def without_end() -> tf.data.Dataset:
        return by_tf(again=True).repeat()

    def build() -> keras.Model:
        inputs = {"x": keras.Input((3,), name="x"), "offset": keras.Input((1,), name="offset")}
        hidden = keras.layers.Dense(4, activation="tanh")(inputs["x"])
        hidden = keras.layers.Dropout(0.2)(hidden)
        model = keras.Model(inputs, keras.layers.Dense(1)(hidden) + inputs["offset"])
        model.compile(keras.optimizers.SGD(0.02, momentum=0.5), "mse")
        return model

    def place() -> Any:
        return listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32)) if num_workers > 1 else None

    def train(
        make: Callable[[], Any],
        *,
        held_out: Callable[[], Any] | None = None,
        shuffle: bool = False,
        stop_at: int | None = None,
        **plan: Any,
    ) -> dict[str, Any]:
        plan = {"global_batch_size": 64, "epochs": EPOCHS, "seed": SEED, "equality": "off", **plan}
        at, observer, outcome = folder / str(next(names)), Observer(), {}

        class Stop(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                if int(self.model.optimizer.iterations) + 1 == stop_at:
                    observer.stop.set()

        def once(callbacks: Any) -> Any:
            settings = Plan.model_validate(plan)
            given = GivenBatches(
                make, seed=SEED, name="train", shuffle=shuffle, steps_per_epoch=settings.steps_per_epoch
            )
            return train_worker(
                given,
                GivenBatches(held_out or make, seed=SEED, name="validation", shuffle=False),
                make=lambda batch, steps: Trainee(build(), callbacks=callbacks),
                plan=settings,
                worker=Worker(rank, num_workers, rendezvous=place()),
                folder=at,
                observer=observer,
                probe=True,
            )

        try:
            final = once([Stop()])
        except Stopped as stopped:
            outcome["stopped"] = str(stopped)
            observer.stop.clear()
            final = once([])
        history = {name: [one[name] for one in final.state.history] for name in ("loss", "validation_loss")}
        return {**outcome, **history, "weights": [array.tolist() for array in final.weights]}

    def by_keras(make: Callable[[], Any], held_out: Callable[[], Any], **settings: Any) -> dict[str, Any]:
        keras.utils.set_random_seed(SEED)
        validation, model = held_out(), build()
        np.random.seed(SEED)  # what the dataset's examples are put in order by, here as in a training of ours
        tf.random.set_seed(SEED)
        history = model.fit(
            make(), validation_data=validation, epochs=EPOCHS, shuffle=False, verbose=0, **settings
        ).history
        return {**history, "weights": [array.tolist() for array in model.get_weights()]}

    def refused(make: Callable[[], Any]) -> str:
        try:
            train(make)
        except DataError as error:
            return str(error)
        except KeyError as error:
            return f"KeyError: {error}"
        return "trained"

    def permuted() -> keras.utils.PyDataset:
        # Keras calls on_epoch_end before the first epoch, too, and looks at two batches before that.
        return Given(order=lambda epoch: epoch_order(Windows(5, 1), seed=SEED, epoch=max(0, epoch - 1)))

    class Other(Given):
        """Another batch at a worker's epoch, drawn again, or none."""

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

        def __getitem__(self, index: int) -> Any:
            features, labels, weights = super().__getitem__(index)
            match self.kind:
                case "first" if rank == 1:
                    labels = labels + 1
                case "epoch" if rank == 1 and self.epoch == 2:
                    labels = labels + 1
                case "again":
                    labels = labels + np.random.normal()
                case "error" if index == 2:
                    raise KeyError("no such file")
            return features, labels, weights

    def indices_read() -> list[int]:
        dataset = Given()
        batches = PyDatasetBatches(dataset, random=OwnRandom(SEED), seed=None, name="train")
        list(batches.from_step(8, epoch_steps=5).take(2))
        batches.close()
        return dataset.read

    cases: dict[str, Callable[[], Any]] = {
        "py": lambda: train(Given, equality="require"),
        "py in another order": lambda: train(Given, shuffle=True),
        "py by threads": lambda: train(lambda: Given(workers=3)),
        "tf": lambda: train(by_tf),
        "tf, whole": lambda: train(partial(by_tf, again=True)),
        "py, whole": lambda: train(Given),
        "tf without end": lambda: train(without_end, held_out=by_tf, steps_per_epoch=4),
        "py, stopped": lambda: train(Given, stop_at=7),
        "tf, stopped": lambda: train(partial(by_tf, again=True), stop_at=7),
        "another first batch": lambda: refused(lambda: Other("first")),
        "another second epoch": lambda: refused(lambda: Other("epoch")),
        "an uneven last batch": lambda: refused(lambda: Given(examples=BATCH + 1)),
        "indices read": indices_read,
    }
    of_one = {
        "an error of its own": lambda: refused(lambda: Other("error")),
        "drawn again": lambda: refused(lambda: Other("again")),
        "py, by Keras": lambda: by_keras(Given, HeldOut),
        "py in another order, by Keras": lambda: by_keras(permuted, HeldOut),
        "py by threads, by Keras": lambda: by_keras(Given, HeldOut),
        "tf, by Keras": lambda: by_keras(by_tf, by_tf),
        "tf without end, by Keras": lambda: by_keras(without_end, by_tf, steps_per_epoch=4),
    }
    if num_workers == 1 or (wanted and rank == 0):
        cases |= of_one
    results = {name: case() for name, case in cases.items() if not wanted or name in wanted}
    (folder / f"{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    work(int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
