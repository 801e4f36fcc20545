"""Keras 3 on one, two and three processes gives what plain Keras gives: history, weights, the same on every worker.

Each process trains all cases in turn: starting one costs more than any case. The processes run this very file.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES, VALIDATED, GLOBAL_BATCH_SIZE, EPOCHS = 250, 97, 32, 2  # no batch divides evenly by three
STEPS, VALIDATION_STEPS = -(-EXAMPLES // GLOBAL_BATCH_SIZE), -(-VALIDATED // GLOBAL_BATCH_SIZE)
CASES = (
    "batch normalization, tuple of inputs, several steps per execution, clipping by global norm",
    "dict of inputs, several outputs, clipping by norm",
    "area under the curve, compiled by XLA, clipping by value",
    "gradient accumulation, moving average of the weights, weight decay",
    "custom train_step, AdamW",
    "loss scaling, gradient accumulation, moving average that overwrites the weights",
    "mixed_float16, overflow on one worker",
    "mixed_bfloat16",
    "auxiliary heads, compiled by XLA",
    "batch normalization with a mask, and of two branches",
)
REFUSED = {
    "sum": 'reduction="sum", expected "sum_over_batch_size"',
    "sum of weights": 'reduction="mean_with_sample_weight", expected',
    "mask and compiled": "an output of the model has a mask",
    "unsynchronized and compiled": "compile the model with jit_compile=False",
    "synchronized and compiled": "compile the model with jit_compile=False",
    "several updates and compiled": "train_step updates weights more than once",
}
# Float16 and bfloat16 carry 11 and 8 bits: what is added up in another order differs by as much, and of the 97 examples
# one that lies between two classes may change its class, which is 2 to 3 percent of a weighted accuracy.
TOLERANCES = {"mixed_float16, overflow on one worker": 5e-2, "mixed_bfloat16": 5e-2}

pytestmark = pytest.mark.timeout(900)  # the first test waits for all processes of all cases


def test_an_untested_version_of_keras_is_refused_with_the_setting_that_allows_it(monkeypatch):
    import keras

    from headrace.components.errors import TrainingError
    from headrace.components.training.multiworker import check_keras_version

    monkeypatch.setattr(keras, "__version__", "9.9.9")
    with pytest.raises(TrainingError, match=r"found 9\.9\.9.*allow_untested_keras: true"):
        check_keras_version()
    check_keras_version(allow_untested_keras=True)


def test_nothing_tunes_a_workers_dataset_and_it_has_no_end():
    import tensorflow as tf

    from headrace.components.training.multiworker import worker_dataset

    dataset = worker_dataset(tf.data.Dataset.range(3))
    assert isinstance(dataset, tf.data.Dataset), "a distributed one has a thread that tunes, whatever its options"
    assert dataset.options().autotune.enabled is False
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


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


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_workers_gives_the_history_and_weights_of_plain_keras(trained, case):
    plain, tolerance = trained[0][0][case], TOLERANCES.get(case, 1e-5)
    for result in (result[case] for num_workers in trained if num_workers for result in trained[num_workers]):
        assert plain["history"].keys() == result["history"].keys()
        for metric in plain["history"]:
            # Keras weights the loss of each of several outputs by steps where batches differ in size, we by examples.
            of_one_output = metric.removeprefix("val_") in ("kind_loss", "size_loss")
            values = (trained[1][0][case] if of_one_output else plain)["history"][metric]
            np.testing.assert_allclose(result["history"][metric], values, rtol=tolerance, err_msg=metric)
        for one, other in zip(plain["weights"], result["weights"], strict=True):
            np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.slow
def test_an_overflow_on_one_worker_skips_the_step_on_all(trained):
    results = [result[CASES[6]] for workers in trained.values() for result in workers]
    assert {(result["updates"], result["loss_scale"]) for result in results} == {
        (EPOCHS * STEPS - 2, 2.0**13)
    }  # in both epochs


@pytest.mark.slow
@pytest.mark.long
def test_tensorflows_own_exchange_gives_the_same(trained, tmp_path, run_workers):
    """As on GPUs: MultiWorkerMirroredStrategy, here by way of gRPC instead of NCCL."""
    run_workers(__file__, num_workers=2, arguments=(str(tmp_path), "collectives"))
    for rank in range(2):
        found = json.loads((tmp_path / f"2-{rank}.json").read_text())
        for case in CASES:
            tolerance = TOLERANCES.get(case, 1e-5)
            assert found[case]["updates"] == trained[2][rank][case]["updates"]
            for metric, values in trained[2][rank][case]["history"].items():
                np.testing.assert_allclose(found[case]["history"][metric], values, rtol=tolerance, err_msg=metric)
            for one, other in zip(trained[2][rank][case]["weights"], found[case]["weights"], strict=True):
                np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_several_workers_cannot_train_equally_is_refused(trained, name):
    if 2 not in trained:
        pytest.skip("needs two GPUs where there are any")
    for result in trained[2]:
        assert REFUSED[name] in result["refused"][name]


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
    with (by_collectives if kind else joined)(place) as exchange:
        results: dict[str, Any] = {case: train(case, exchange) for case in CASES}
        if len(ports) == 1:
            plain = {case: train(case, None) for case in CASES}
            (folder / "0-0.json").write_text(json.dumps(plain))
        if len(ports) == 2:
            results["refused"] = {name: refusal(name, exchange) for name in REFUSED}
    (folder / f"{len(ports)}-{rank}.json").write_text(json.dumps(results))


def train(case: str, exchange: Any) -> dict[str, Any]:
    import keras

    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset
    from headrace.components.training.workers.group import require_equal_weights

    data, place = example_data(case), (exchange.rank, exchange.num_workers) if exchange else (0, 1)
    batches, validation_batches = serve(data, EXAMPLES, *place), serve(data, VALIDATED, *place)
    settings = {"steps_per_epoch": STEPS, "epochs": EPOCHS, "validation_steps": VALIDATION_STEPS, "verbose": 0}
    if exchange is None:
        model = build(case, plain=True)
        history = model.fit(batches, validation_data=validation_batches, shuffle=False, **settings)
    else:
        with exchange.strategy.scope():
            model = build(case, plain=False)
        with trained_by_all_workers(model, exchange, steps_per_epoch=STEPS, validation_steps=VALIDATION_STEPS):
            history = model.fit(
                worker_dataset(batches),
                validation_data=worker_dataset(validation_batches),
                shuffle=False,
                **settings,
            )
        assert not overridden_attributes(model, exchange.strategy)
        require_equal_weights(model, exchange, step=EPOCHS * STEPS)
    scale = getattr(model.optimizer, "dynamic_scale", None)
    return {
        "history": history.history,
        "weights": [np.asarray(weights, dtype=np.float64).tolist() for weights in model.get_weights()],
        "updates": int(keras.ops.convert_to_numpy(model.optimizer.iterations)),
        "loss_scale": None if scale is None else float(keras.ops.convert_to_numpy(scale)),
    }


def overridden_attributes(model: Any, strategy: Any) -> list[str]:
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    names = {
        "train_function": model.train_function,
        "test_function": model.test_function,
        **{name: vars(model).get(name) for name in ("compute_loss", "_maybe_symbolic_build", "get_metrics_result")},
        **{name: vars(model.optimizer).get(name) for name in ("apply", "scale_loss")},
        "_all_reduce_sum_gradients": vars(optimizer).get("_all_reduce_sum_gradients"),
        "_direct_assign": vars(optimizer._iterations).get("_direct_assign"),
        "_use_merge_call": vars(strategy.extended).get("_use_merge_call"),
        "experimental_distribute_dataset": vars(strategy).get("experimental_distribute_dataset"),
    }
    return [name for name, value in names.items() if value is not None]


def refusal(name: str, exchange: Any) -> str:
    """The message of the TrainingError that training `name` raises."""
    import keras

    from headrace.components.errors import TrainingError
    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset

    normalization = {"unsynchronized and compiled": False, "synchronized and compiled": True}.get(name)
    reduction = {"sum": "sum", "sum of weights": "mean_with_sample_weight"}.get(name, "sum_over_batch_size")
    with exchange.strategy.scope():
        inputs = keras.Input((12,))
        tensor = keras.layers.Masking()(keras.layers.Reshape((12, 1))(inputs)) if "mask" in name else inputs
        if normalization is not None:
            tensor = keras.layers.BatchNormalization(synchronized=normalization)(tensor)
        kind = twice_updated() if name == "several updates and compiled" else keras.Model
        model = kind(inputs, keras.layers.Dense(3)(tensor))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        model.compile("adam", "mse" if "mask" in name else loss, jit_compile="compiled" in name)
    batches = worker_dataset(serve(example_data(name), EXAMPLES, exchange.rank, exchange.num_workers))
    try:
        with trained_by_all_workers(model, exchange, steps_per_epoch=STEPS, validation_steps=1):
            model.fit(batches, steps_per_epoch=STEPS, verbose=0)
    except TrainingError as error:
        return str(error)
    return "nothing"


def build(case: str, *, plain: bool) -> Any:
    """The compiled model of a case; for plain Keras without what changes only how it is run."""
    import keras

    from headrace.components.models.heads import WithAuxiliaryHeads

    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(case.split(",", maxsplit=1)[0] if case.startswith("mixed") else "float32")
    layers, losses, optimizers = keras.layers, keras.losses, keras.optimizers
    inputs: Any = keras.Input((12,))
    tensor = layers.Dense(16, "relu", kernel_regularizer="l2")(inputs)
    optimizer, model = optimizers.Adam(0.01), keras.Model
    loss: Any = losses.SparseCategoricalCrossentropy(from_logits=True)
    settings: dict[str, Any] = {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
    match CASES.index(case):
        case 0:
            inputs = [keras.Input((6,)), keras.Input((6,))]
            tensor = layers.Dense(16, "relu", kernel_regularizer="l2")(layers.Concatenate()(inputs))
            tensor = layers.BatchNormalization(synchronized=not plain)(tensor)
            optimizer = optimizers.Adam(0.01, global_clipnorm=0.3)
            settings["steps_per_execution"] = 1 if plain else 3  # the last of an epoch's 8 steps are 2
        case 1:
            inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
            tensor = layers.Dense(16, "relu", activity_regularizer="l2")(layers.Concatenate()(list(inputs.values())))
            optimizer, loss = optimizers.Adam(0.01, clipnorm=0.1), {"kind": loss, "size": "mse"}
            settings = {"metrics": {"kind": "accuracy"}, "weighted_metrics": {"size": "mae"}}
            settings["loss_weights"] = {"kind": 1.0, "size": 0.3}
        case 2:
            optimizer, loss = optimizers.SGD(0.1, momentum=0.9, clipvalue=0.02), losses.BinaryCrossentropy()
            settings = {"metrics": [keras.metrics.AUC(name="auc")], "jit_compile": not plain}
            settings["weighted_metrics"] = [keras.metrics.Precision(name="precision")]
        case 3:
            accumulated = {"gradient_accumulation_steps": 3, "use_ema": True, "ema_momentum": 0.9}
            optimizer = optimizers.Adam(0.01, weight_decay=0.1, global_clipnorm=0.3, **accumulated)
        case 4:
            model, optimizer = own_train_step(), optimizers.AdamW(0.01, weight_decay=0.1)
        case 5:
            average = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 4}
            inner = optimizers.Adam(0.01, gradient_accumulation_steps=2, **average)
            optimizer = optimizers.LossScaleOptimizer(inner, dynamic_growth_steps=5)
        case 8:
            settings["jit_compile"] = not plain
        case 9:
            sequence = layers.Masking()(layers.Reshape((6, 2))(inputs))
            normalized = layers.BatchNormalization(synchronized=not plain)(sequence)
            # Without a bias, whose gradient is nothing but rounding, and which Adam would blow up.
            branches = [layers.Dense(8, use_bias=False)(tensor) for _ in range(2)]
            branches = [layers.BatchNormalization(synchronized=not plain)(branch) for branch in branches]
            tensor = layers.Concatenate()([layers.GlobalAveragePooling1D()(normalized), *branches])
    outputs = layers.Dense(1, "sigmoid") if CASES.index(case) == 2 else layers.Dense(3, dtype="float32", name="kind")
    output = outputs(tensor)
    if CASES.index(case) == 1:
        output = {"kind": output, "size": layers.Dense(1, name="size")(tensor)}
    built = model(inputs, output)
    if CASES.index(case) == 8:
        built = WithAuxiliaryHeads(built, model(inputs, [output, layers.Dense(3)(tensor), layers.Dense(3)(tensor)]))
    built.compile(optimizer, loss, **{"jit_compile": False, **settings})
    return built


def own_train_step() -> Any:
    """A model class that updates its weights by itself, without `scale_loss`."""
    import keras
    import tensorflow as tf

    class OwnTrainStep(keras.Model):
        def train_step(self, data: Any) -> Any:
            features, labels, weights = data
            with tf.GradientTape() as tape:
                predictions = self(features, training=True)
                loss = self.compute_loss(features, labels, predictions, weights)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            self._loss_tracker.update_state(loss * replicas, sample_weight=tf.shape(features)[0])
            return self.compute_metrics(features, labels, predictions, weights)

    return OwnTrainStep


def twice_updated() -> Any:
    """A model class that updates its weights twice in a step."""

    class TwiceUpdated(own_train_step()):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            super().train_step(data)
            return super().train_step(data)

    return TwiceUpdated


def example_data(case: str) -> Any:
    """Features, labels and sample weights in the form that the model of a case takes."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(EXAMPLES, 12)).astype(np.float32)
    kinds = (features[:, 0] + features[:, 1] * features[:, 2] > 0).astype(np.int32) + (features[:, 3] > 1)
    weights = generator.uniform(0.2, 3, size=EXAMPLES).astype(np.float32)
    halves = (features[:, :6], features[:, 6:])
    match CASES.index(case) if case in CASES else None:
        case 0:
            return halves, kinds.astype(np.int32), weights
        case 1:
            labels = {"kind": kinds.astype(np.int32), "size": features[:, :1] * 2}
            return dict(zip("ab", halves, strict=True)), labels, weights
        case 2:
            return features, (kinds > 0).astype(np.float32)[:, np.newaxis], weights
        case 9:
            features[::3, 4:] = 0  # masked
        case 6:
            weights[7] = 2000  # its gradient, times a loss scale of 2**15 or 2**14, is beyond float16
    return features, kinds.astype(np.int32), weights


def serve(data: Any, examples: int, rank: int, num_workers: int) -> Any:
    """One worker's part of each of the even batches of the first `examples`, without end."""
    import tensorflow as tf

    from headrace.components.training.batches import batch_slice, steps_per_epoch, worker_slice

    steps = steps_per_epoch(examples, global_batch_size=GLOBAL_BATCH_SIZE)

    def part(step: Any) -> Any:
        batch = batch_slice(step % steps, examples=examples, steps=steps)
        own = worker_slice(batch.stop - batch.start, rank=rank, num_workers=num_workers)
        return tf.nest.map_structure(lambda values: tf.constant(values)[batch][own], data)

    return tf.data.Dataset.counter(dtype=tf.int64).map(part).prefetch(2)


if __name__ == "__main__":
    work(int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
