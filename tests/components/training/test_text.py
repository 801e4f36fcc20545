"""Recurrent models of next tokens, trained: what they learn, and the same on any number of workers."""

import keras
import numpy as np
import pytest

from headrace.components.models.build import build
from headrace.components.models.layers.sequences import OneHotTokens, Recurrent
from headrace.components.models.settings import Model
from headrace.components.schema.labels import NextTokenLabel
from headrace.components.tasks.variants import task_of
from headrace.components.training import checkpoints
from headrace.components.training.optimization.optimizers import build_optimizer
from headrace.components.training.settings import RmsProp

WORKER = """
import json, os, sys
rank, ports, folder = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import numpy as np
from headrace.components.schema.labels import NextTokenLabel
from headrace.components.training import checkpoints
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.training.settings import Training
from headrace.components.training.workers.rendezvous import listen

place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32)) if len(ports) > 1 else None
generator = np.random.default_rng(0)
ids = generator.integers(1, 6, size=(41, 6))
ids[np.arange(6) >= generator.integers(2, 7, size=(41, 1))] = 0  # texts of two to six tokens
columns = Columns(ids[:, :-1].astype(np.float32), ids[:, 1:].astype(np.int32))
layers = [
    {"kind": "embedding", "units": 4},
    {"kind": "recurrent", "cell": "gru", "units": 8},
    {"kind": "dropout", "rate": 0.3},
    {"kind": "recurrent", "cell": "lstm", "units": 8},
]
training = {"model": {"layers": layers}, "optimizer": {"kind": "adam", "learning_rate": 0.02}}
final = train_pipeline(
    columns,
    Columns(columns.features[:17], columns.labels[:17]),
    label=NextTokenLabel(name="text"),
    tokens=6,
    training=Training.model_validate({**training, "global_batch_size": 12, "epochs": 2, "seed": 3}),
    worker=Worker(rank, len(ports), rendezvous=place),
    folder=Path(folder) / "checkpoints",
    observer=Observer(),
)
checkpoints.save(Path(folder) / f"final-{rank}", final)
"""


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_after_h_e_l_l_every_cell_says_e_l_l_o(cell):
    """The word, one-hot, by 4 units in 100 steps of RMSProp: the pipeline hello_rnn, with each cell."""
    task, steps = task_of(NextTokenLabel(name="text")), 100
    keras.utils.set_random_seed(1)
    layers = Model(layers=(OneHotTokens(), Recurrent(cell=cell, units=4)))
    core = build(layers, input_shape=(4,), output=task.output(6), tokens=6)
    optimizer = build_optimizer(RmsProp(learning_rate=0.01), steps_per_epoch=steps, epochs=1)
    core.compile(optimizer, task.loss(label_smoothing=0.0))
    letters = {"l": 2, "e": 3, "h": 4, "o": 5}
    ids = np.array([[letters[letter] for letter in "hello"]])
    for _ in range(steps):
        core.train_on_batch(ids[:, :-1].astype(np.float32), ids[:, 1:])
    predicted = core(ids[:, :-1].astype(np.float32)).numpy().argmax(axis=2)
    assert predicted.tolist() == ids[:, 1:].tolist()


@pytest.mark.long
def test_texts_of_any_length_train_the_same_model_on_one_worker_and_on_two(tmp_path, run_workers):
    finals = []
    for num_workers in (1, 2):
        folder = tmp_path / str(num_workers)
        folder.mkdir()
        run_workers("-c", WORKER, num_workers=num_workers, arguments=(str(folder),))
        finals.append(checkpoints.load(folder / "final-0"))
    one, two = finals
    assert {"loss", "accuracy", "perplexity", "validation_perplexity"} <= one.state.history[0].keys()
    for left, right in zip(one.state.history, two.state.history, strict=True):
        for name in left.keys() - {"seconds"}:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-4, err_msg=name)
    for left, right in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
