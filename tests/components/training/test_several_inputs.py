"""Several inputs, attention, sample weights, a loss by name and rates of layers: the same on one and two workers."""

from pathlib import Path

import keras
import numpy as np
import pytest

from headrace.components.models.named_inputs import InputGroup
from headrace.components.schema.labels import CategoryLabel
from headrace.components.training import checkpoints
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.training.settings import Training

WORKER = """
import json, sys
rank, ports, folder = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
import runpy
module = runpy.run_path({file!r})
from pathlib import Path
from headrace.components.training import checkpoints
from headrace.components.training.workers.rendezvous import listen
place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32)) if len(ports) > 1 else None
final = module["train"](Path(folder), rank, len(ports), place)
checkpoints.save(Path(folder) / f"final-{{rank}}", final)
"""
GROUPS = {"text": InputGroup(("text",), (6,), 9), "numbers": InputGroup(("a", "b"), (2,))}
ATTENTION = {"kind": "attention", "heads": 2, "dropout": 0.3}
MODEL = {
    "inputs": {
        "text": [
            {"kind": "embedding", "units": 4, "name": "tokens"},
            {"kind": "position_embedding"},
            {"kind": "residual", "layers": [{"kind": "layer_normalization"}, ATTENTION]},
            {"kind": "conv1d", "filters": 6, "kernel_size": 2, "padding": "causal"},
            {"kind": "group_normalization", "groups": 2},
            {"kind": "recurrent", "cell": "gru", "units": 3, "bidirectional": True},
            {"kind": "global_average_pooling1d"},
        ],
        "numbers": {"features": ["a", "b"], "layers": [{"kind": "dense", "units": 4, "activation": "tanh"}]},
    },
    "layers": [{"kind": "dropout", "rate": 0.3}, {"kind": "dense", "units": 6, "activation": "tanh"}],
}
TRAINING = {
    "model": MODEL,
    "loss": {"kind": "focal", "gamma": 1.5, "alpha": 0.4},
    "optimizer": {
        "kind": "sgd",  # Adam would blow up the rounding of gradients that are 0, as those of attention's key biases
        "learning_rate": 0.1,
        "momentum": 0.9,
        "clip_norm": 1.0,
        "weight_decay": 0.01,
        "rates": [{"layers": "tokens", "factor": 0.1}],
    },
    "global_batch_size": 12,
    "epochs": 2,
    "seed": 3,
}


def example_columns(examples: int = 41) -> Columns:
    generator = np.random.default_rng(0)
    ids = generator.integers(1, 9, size=(examples, 6))
    ids[np.arange(6) >= generator.integers(2, 7, size=(examples, 1))] = 0
    features = {"text": ids.astype(np.float32), "numbers": generator.normal(size=(examples, 2)).astype(np.float32)}
    weights = generator.integers(0, 4, examples).astype(np.float32)
    return Columns(features, (ids[:, 0] % 2).astype(np.int32), weights)


def train(folder: Path, rank: int = 0, num_workers: int = 1, place=None, **changes):
    columns = example_columns()
    return train_pipeline(
        columns,
        Columns({name: values[:17] for name, values in columns.features.items()}, columns.labels[:17]),
        label=CategoryLabel(name="kind", classes=("a", "b")),
        inputs=GROUPS,
        training=Training.model_validate({**TRAINING, **changes}),
        worker=Worker(rank, num_workers, rendezvous=place),
        folder=folder / "checkpoints",
        observer=Observer(),
    )


@pytest.mark.slow
def test_two_workers_train_what_one_does(tmp_path, run_workers):
    finals = []
    for num_workers in (1, 2):
        (folder := tmp_path / str(num_workers)).mkdir()
        code = WORKER.format(file=__file__)
        run_workers("-c", code, num_workers=num_workers, arguments=(str(folder),))
        finals.append(checkpoints.load(folder / "final-0"))
    one, two = finals
    for left, right in zip(one.state.history, two.state.history, strict=True):
        for name in left.keys() - {"seconds"}:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-4, err_msg=name)
    for left, right in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_weights_and_losses_are_those_of_plain_keras(tmp_path):
    """A pass of one step with SGD: the update is that of Keras's own fit with sample_weight."""
    columns = example_columns(16)
    training = {
        "model": {"layers": [{"kind": "dense", "units": 3, "name": "first"}]},
        "optimizer": {"kind": "sgd", "learning_rate": 0.5},
        "loss": {"kind": "cross_entropy"},
        "global_batch_size": 16,
        "epochs": 1,
        "best_by": "last",
    }
    numbers = Columns(columns.features["numbers"], columns.labels, columns.weights)
    final = train_pipeline(
        numbers,
        None,
        label=CategoryLabel(name="kind", classes=("a", "b")),
        training=Training.model_validate(training),
        worker=Worker(0, 1),
        folder=tmp_path,
        observer=Observer(),
    )
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(3)(inputs)
    plain = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    plain.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = plain(numbers.features)
    each = keras.losses.sparse_categorical_crossentropy(numbers.labels, before, from_logits=True)
    history = plain.fit(
        numbers.features, numbers.labels, sample_weight=numbers.weights, batch_size=16, shuffle=False, verbose=0
    )
    [epoch] = final.state.history
    assert epoch["loss"] == pytest.approx(history.history["loss"][0], rel=1e-5)
    assert epoch["loss"] == pytest.approx(float((each * numbers.weights).numpy().sum()) / 16, rel=1e-5)
    for found, expected in zip(final.weights, plain.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
