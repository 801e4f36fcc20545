"""Tables of embeddings, and losses over pairs, train on one, two and three processes as under plain Keras.

Each process trains all cases in turn, as in `test_multiworker.py`. The processes run this very file.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES, GLOBAL_BATCH_SIZE, EPOCHS = 125, 16, 3  # no batch divides evenly by three
STEPS, LENGTH, TOKENS = -(-EXAMPLES // GLOBAL_BATCH_SIZE), 6, 20
OPTIMIZERS = {
    "SGD": ("SGD", {"learning_rate": 0.5}),
    "SGD, momentum, clipping by norm": ("SGD", {"learning_rate": 0.5, "momentum": 0.9, "clipnorm": 0.05}),
    "Adam": ("Adam", {"learning_rate": 0.03}),
    "Adam, clipping by global norm": ("Adam", {"learning_rate": 0.03, "global_clipnorm": 0.1}),
    "Adam, gradient accumulation, moving average": (
        "Adam",
        {"learning_rate": 0.03, "gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.9},
    ),
    "AdamW, clipping by norm": ("AdamW", {"learning_rate": 0.03, "weight_decay": 0.1, "clipnorm": 0.05}),
    "RMSprop": ("RMSprop", {"learning_rate": 0.01, "momentum": 0.5}),
    "Adagrad": ("Adagrad", {"learning_rate": 0.1}),
}
MODELS = ("loss scaling", "compiled by XLA", "ids from the end", "one table, used twice", "Transformer")
TOWERS = ("two towers", "two towers, their own train_step", "two towers, loss scaling, several steps per execution")
CASES = (*OPTIMIZERS, *MODELS, *TOWERS)
SHORT_CASES = ("Adam", "two towers")  # of two workers, before each change
TABLE_ROWS = (10_000, 1_000_000)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first test waits for all processes of all cases


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_workers) -> dict[int, list[dict[str, Any]]]:
    """What every worker of one, two and three has written, by number of workers; plain Keras's is number 0."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("trained")
    gpus = len(tf.config.list_physical_devices("GPU"))  # NCCL takes a GPU for each worker
    counts = range(1, 1 + (min(gpus, 3) or 3))
    for num_workers in counts:
        run_workers(__file__, num_workers=num_workers, arguments=(str(folder),))
    ranks = {0: range(1), **{number: range(number) for number in counts}}
    return {n: [json.loads((folder / f"{n}-{rank}.json").read_text()) for rank in ranks[n]] for n in ranks}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory, run_workers) -> list[dict[str, Any]]:
    """What each of two workers has written of the short cases and of the tables, and last what plain Keras gives."""
    import tensorflow as tf

    if len(tf.config.list_physical_devices("GPU")) == 1:
        pytest.skip("needs two GPUs where there are any")
    folder = tmp_path_factory.mktemp("two")
    run_workers(__file__, num_workers=2, arguments=(str(folder), "short"))
    return [json.loads((folder / f"{name}.json").read_text()) for name in ("2-0", "2-1", "0-0")]


def require_equal(result: dict[str, Any], plain: dict[str, Any]) -> None:
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(result["history"][name], plain["history"][name], rtol=1e-5)
    for one, other in zip(plain["weights"], result["weights"], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", SHORT_CASES)
def test_two_workers_give_the_losses_and_weights_of_plain_keras(two_workers, case):
    *workers, plain = two_workers
    for result in workers:
        require_equal(result[case], plain[case])


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_workers_gives_the_losses_and_weights_of_plain_keras(trained, case):
    for result in (result[case] for num_workers in trained if num_workers for result in trained[num_workers]):
        require_equal(result, trained[0][0][case])


@pytest.mark.long
def test_tensorflows_own_exchange_gives_the_same(trained, tmp_path, run_workers):
    run_workers(__file__, num_workers=2, arguments=(str(tmp_path), "collectives"))
    for rank in range(2):
        found = json.loads((tmp_path / f"2-{rank}.json").read_text())
        assert "steps_per_execution=1" in found["refused"]
        for case in CASES:
            for one, other in zip(trained[0][0][case]["weights"], found[case]["weights"], strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5, err_msg=case)


def test_what_is_sent_in_a_step_does_not_grow_with_the_table(two_workers):
    for result in two_workers[:2]:
        small, large = (result["tables"][str(rows)] for rows in TABLE_ROWS)
        assert large["bytes"] == small["bytes"] < 1 << 20


@contextmanager
def by_collectives(place: Any) -> Iterator[Any]:
    from headrace.components.training.workers.collectives import collectives
    from headrace.components.training.workers.ring import ring_of

    with ring_of(place, timeout_seconds=60) as ring:
        yield collectives(ring, place, timeout_seconds=60)


def work(rank: int, ports: list[int], folder: Path, kind: str = "") -> None:
    """Train all cases as one of the workers, and write what came out."""
    import tensorflow as tf

    from headrace.components.training.workers.exchange import joined
    from headrace.components.training.workers.rendezvous import listen

    if gpus := tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices(gpus[rank], "GPU")
        tf.config.experimental.enable_tensor_float_32_execution(False)  # of 11 bits
    place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32)) if len(ports) > 1 else None
    cases = SHORT_CASES if kind == "short" else CASES
    with (by_collectives if kind == "collectives" else joined)(place) as exchange:
        results: dict[str, Any] = {case: train(case, exchange) for case in cases}
        if rank == 0 and (kind == "short" or len(ports) == 1):
            (folder / "0-0.json").write_text(json.dumps({case: train(case, None) for case in cases}))
        if kind == "collectives":
            results["refused"] = refusal(exchange)
        elif kind == "short":
            results["tables"] = {rows: of_a_table(rows, exchange) for rows in TABLE_ROWS}
    (folder / f"{len(ports)}-{rank}.json").write_text(json.dumps(results))


def train(case: str, exchange: Any) -> dict[str, Any]:
    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset
    from headrace.components.training.workers.group import require_equal_weights

    batches = serve(example_data(), *((exchange.rank, exchange.num_workers) if exchange else (0, 1)))
    settings = {"steps_per_epoch": STEPS, "epochs": EPOCHS, "validation_steps": 3, "verbose": 0, "shuffle": False}
    if exchange is None:
        model = build(case, plain=True)
        history = model.fit(batches, validation_data=batches, **settings)
    else:
        with exchange.strategy.scope():
            model = build(case, plain=False)
        own = worker_dataset(batches)
        with trained_by_all_workers(model, exchange, steps_per_epoch=STEPS, validation_steps=3):
            history = model.fit(own, validation_data=own, **settings)
        assert not any("call" in vars(layer) for layer in model._flatten_layers())
        require_equal_weights(model, exchange, step=EPOCHS * STEPS)
    return {
        "history": history.history,
        "weights": [np.asarray(weights, dtype=np.float64).tolist() for weights in model.get_weights()],
    }


def refusal(exchange: Any) -> str:
    """The message of the TrainingError that several steps in a loop of TensorFlow's own exchange raise."""
    from headrace.components.errors import TrainingError
    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset

    with exchange.strategy.scope():
        model = build("Adam", plain=False)
        model.steps_per_execution = 3
    batches = worker_dataset(serve(example_data(), exchange.rank, exchange.num_workers))
    try:
        with trained_by_all_workers(model, exchange, steps_per_epoch=STEPS, validation_steps=1):
            model.fit(batches, steps_per_epoch=STEPS, verbose=0)
    except TrainingError as error:
        return str(error)
    return "nothing"


def build(case: str, *, plain: bool) -> Any:
    import keras

    from headrace.components.training.optimization.adam import FusedAdam

    keras.utils.set_random_seed(3)
    if case in TOWERS:
        return two_towers(case, plain=plain)
    layers, optimizers = keras.layers, keras.optimizers
    kind, settings = OPTIMIZERS.get(case, ("Adam", {"learning_rate": 0.03}))
    optimizer = (FusedAdam if kind == "Adam" and not plain else getattr(optimizers, kind))(**settings)
    ids = keras.Input((LENGTH,), dtype="float32" if case == "SGD" else "int32")
    if case == "Transformer":
        optimizer, output = optimizers.SGD(0.1, momentum=0.9), transformer(ids)
    elif case == "one table, used twice":
        table = layers.Embedding(TOKENS, 8)
        first, last = table(ids[:, :4]), table(ids[:, 4:])
        output = layers.Concatenate()([layers.GlobalAveragePooling1D()(part) for part in (first, last)])
    else:
        shifted = ids - TOKENS if case == "ids from the end" else ids
        output = layers.GlobalAveragePooling1D()(layers.Embedding(TOKENS, 8)(shifted))
    if case == "loss scaling":
        optimizer = optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=5)
    model = keras.Model(ids, layers.Dense(3)(output))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=case == "compiled by XLA" and not plain)
    return model


def transformer(ids: Any) -> Any:
    """A block of attention over tokens and their places."""
    import keras

    layers, width = keras.layers, 8
    places = layers.Embedding(LENGTH, width)(keras.ops.arange(LENGTH))
    tensor = layers.Embedding(TOKENS, width)(ids) + places
    tensor = layers.LayerNormalization()(tensor + layers.MultiHeadAttention(2, width // 2)(tensor, tensor))
    tensor = layers.LayerNormalization()(tensor + layers.Dense(width)(layers.Dense(16, "gelu")(tensor)))
    return layers.GlobalAveragePooling1D()(tensor)


def two_towers(case: str, *, plain: bool) -> Any:
    """Queries and documents, and a loss over each query and all documents of the batch."""
    import keras
    import tensorflow as tf

    import headrace

    class OwnTrainStep(keras.Model):
        """Updates its weights without `scale_loss`."""

        def train_step(self, data: Any) -> Any:
            ids, labels = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(ids, labels, self(ids, training=True))
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            self._loss_tracker.update_state(loss * replicas, sample_weight=tf.shape(ids)[0])
            return self.compute_metrics(ids, labels, None)

    def in_batch_softmax(labels: Any, towers: Any) -> Any:
        queries, documents = keras.ops.unstack(towers, axis=1)
        candidates, own = headrace.gather_batch(documents)
        kinds, _ = headrace.gather_batch(keras.ops.cast(labels, "int32"))
        logits = 3 * queries @ keras.ops.transpose(candidates)
        others = keras.ops.cast(kinds[None] != tf.gather(kinds, own)[:, None], "float32")  # are harder by 1
        return keras.losses.sparse_categorical_crossentropy(own, logits + others, from_logits=True)

    layers, ids = keras.layers, keras.Input((LENGTH,), dtype="int32")
    table = layers.Embedding(TOKENS, 8)
    towers = [
        layers.Dense(4, use_bias=False)(layers.GlobalAveragePooling1D()(table(part)))
        for part in (ids[:, :3], ids[:, 3:])
    ]
    optimizer: Any = keras.optimizers.Adam(0.03)
    if "loss scaling" in case:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=5)
    model = (OwnTrainStep if "train_step" in case else keras.Model)(ids, keras.ops.stack(towers, axis=1))
    looped = "several steps" in case and not plain and tf.distribute.get_strategy().num_replicas_in_sync == 1
    steps = 3 if looped else 1
    model.compile(optimizer, in_batch_softmax, jit_compile=False, steps_per_execution=steps)
    return model


def example_data() -> Any:
    """Few ids are frequent, most are rare, as in a text; labels."""
    generator = np.random.default_rng(0)
    ids = np.minimum(generator.geometric(0.2, (EXAMPLES, LENGTH)), TOKENS).astype(np.int32) - 1
    return ids, (ids.sum(axis=1) % 3).astype(np.int32)


def serve(data: Any, rank: int, num_workers: int) -> Any:
    """One worker's part of each of the even batches, without end."""
    import tensorflow as tf

    from headrace.components.training.batches import batch_slice, worker_slice

    def part(step: Any) -> Any:
        batch = batch_slice(step % STEPS, examples=EXAMPLES, steps=STEPS)
        own = worker_slice(batch.stop - batch.start, rank=rank, num_workers=num_workers)
        return tf.nest.map_structure(lambda values: tf.constant(values)[batch][own], data)

    return tf.data.Dataset.counter(dtype=tf.int64).map(part).prefetch(2)


def of_a_table(rows: int, exchange: Any) -> dict[str, float]:
    """The bytes that this worker sends in a step over 256 ids."""
    import keras
    import tensorflow as tf

    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset

    steps, sent, ended = 30, [0], []
    keras.utils.set_random_seed(3)
    table = [keras.Input((1,), dtype="int64"), keras.layers.Embedding(rows, 64), keras.layers.Flatten()]
    model = keras.Sequential([*table, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    ids = np.random.default_rng(exchange.rank).integers(0, rows, (steps, 128, 1))
    batches = tf.data.Dataset.from_tensor_slices((ids, np.ones((steps, 128, 1), np.float32))).repeat()
    plain_send = exchange._send

    def send(data: Any) -> int:
        sent[0] += (count := plain_send(data))
        return count

    exchange._send = send
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ended.append(sent[0]))
    with trained_by_all_workers(model, exchange, steps_per_epoch=steps, validation_steps=1):
        model.fit(worker_dataset(batches), steps_per_epoch=steps, verbose=0, callbacks=[note])
    del exchange._send
    return {"bytes": float(np.diff(ended).max())}


if __name__ == "__main__":
    work(int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
