"""Keras 3 on several processes gives what it gives on one: history, weights, and the same weights on every worker."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

WORKER = """
import json, os, sys
rank, ports, folder, case = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if len(ports) > 1:
    workers = [f"127.0.0.1:{port}" for port in ports]
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})
import keras
import numpy as np
import tensorflow as tf
from components.training.batches import steps_per_epoch
from components.training.feed import evaluation_batches, training_batches
from components.training.multiworker import trained_by_all_workers, worker_dataset

generator = np.random.default_rng(0)
features = generator.normal(size=(250, 12)).astype(np.float32)
labels = (features[:, 0] + features[:, 1] * features[:, 2] > 0).astype(np.int32) + (features[:, 3] > 1)
labels = labels.astype(np.int32)
keras.utils.set_random_seed(3)
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    layers = [keras.Input((12,)), keras.layers.Dense(16, "relu", kernel_regularizer="l2")]
    if case["batch_normalization"]:
        layers.append(keras.layers.BatchNormalization(synchronized=True))
    model = keras.Sequential([*layers, keras.layers.Dense(3)])
    model.compile(
        keras.optimizers.Adam(0.01, **case["optimizer"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=case["steps_per_execution"],
    )
place = {"global_batch_size": 32, "rank": rank, "num_workers": len(ports)}
steps, validation_steps = steps_per_epoch(250, global_batch_size=32), steps_per_epoch(97, global_batch_size=32)
with trained_by_all_workers(model, steps_per_epoch=steps, validation_steps=validation_steps):
    history = model.fit(
        worker_dataset(strategy, training_batches(features, labels, seed=5, **place)),
        steps_per_epoch=steps,
        epochs=3,
        validation_data=worker_dataset(strategy, evaluation_batches(features[:97], labels[:97], **place)),
        validation_steps=validation_steps,
        shuffle=False,
        verbose=0,
    )
assert "apply" not in vars(model.optimizer)
np.savez(f"{folder}/{len(ports)}-{rank}.npz", *model.get_weights())
with open(f"{folder}/{len(ports)}-{rank}.json", "w") as file:
    json.dump(history.history, file)
"""


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def train(folder, repository, num_workers: int, case: dict) -> list[tuple[dict, list[np.ndarray]]]:
    """History and weights of every worker."""
    ports = json.dumps(free_ports(num_workers))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), ports, str(folder), json.dumps(case)],
            cwd=repository,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_workers)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * num_workers, errors
    results = []
    for rank in range(num_workers):
        with np.load(folder / f"{num_workers}-{rank}.npz") as arrays:
            weights = [arrays[name] for name in arrays.files]
        results.append((json.loads((folder / f"{num_workers}-{rank}.json").read_text()), weights))
    return results


# 250 examples in batches of 32: the last batch has 26, and three workers get parts of different size in every batch.
CASES = {
    "batch normalization, clipping": {
        "batch_normalization": True,
        "optimizer": {"global_clipnorm": 0.3},
        "steps_per_execution": 1,
    },
    # 8 steps an epoch in executions of 3: the last one is short
    "several steps per execution": {"batch_normalization": True, "optimizer": {}, "steps_per_execution": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_two_and_three_workers_give_the_same_history_and_weights(tmp_path, repository, name):
    [(history, weights)] = train(tmp_path, repository, 1, CASES[name])
    for num_workers in (2, 3):
        workers = train(tmp_path, repository, num_workers, CASES[name])
        for other_history, other_weights in workers:
            assert history.keys() == other_history.keys()
            for metric, values in history.items():
                np.testing.assert_allclose(other_history[metric], values, rtol=1e-5, err_msg=metric)
            for one, other in zip(weights, other_weights, strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
        for _, other_weights in workers[1:]:
            for one, other in zip(workers[0][1], other_weights, strict=True):
                np.testing.assert_array_equal(one, other)


def test_an_untested_version_of_keras_is_refused_with_the_setting_that_allows_it(monkeypatch):
    import keras

    from components.errors import TrainingError
    from components.training.multiworker import check_keras_version

    monkeypatch.setattr(keras, "__version__", "9.9.9")
    with pytest.raises(TrainingError, match=r"found 9\.9\.9.*allow_untested_keras: true"):
        check_keras_version()
    check_keras_version(allow_untested_keras=True)
