"""What workers exchange, on real processes: each runs all of it in turn, as this very file."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STEPS, EXAMPLES_PER_STEP = 8, 31  # no step divides evenly by two or three workers
STOPPED_AT = 3
FIGURES = [1.5, -0.0, 2.0**52 + 1, math.inf, math.nan]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results_by_workers(tmp_path_factory, run_workers) -> dict[int, list[dict[str, Any]]]:
    """What every worker of one, two and three found out, by number of workers."""
    folder = tmp_path_factory.mktemp("results")
    for num_workers in (2, 1, 3):  # the others continue what two began
        run_workers(__file__, num_workers=num_workers, arguments=(str(folder),))
    return {n: [json.loads((folder / f"{n}-{rank}.json").read_text()) for rank in range(n)] for n in (1, 2, 3)}


def workers(results_by_workers: dict[int, list[dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    return [(num_workers, result) for num_workers, results in results_by_workers.items() for result in results]


def test_all_workers_stop_after_the_same_step(results_by_workers):
    # The last worker asks after step 3: step 4 notifies all of them.
    assert [result["stopped_after"] for _, result in workers(results_by_workers)] == [4] * 6


def test_asking_whether_to_stop_costs_next_to_nothing(results_by_workers):
    assert all(
        result["seconds_to_ask"] < 1e-3 for _, result in workers(results_by_workers)
    )  # a few microseconds, on a busy machine more


def test_the_time_before_the_exchange_shows_the_slow_worker(results_by_workers):
    slow, *others = (result["compute_seconds"] for result in results_by_workers[3])
    assert slow > max(others)  # by how much depends on what else the machine does
    assert all(result["compute_seconds_again"] is None for _, result in workers(results_by_workers))


def test_every_worker_gets_the_metrics_of_all_in_the_order_of_ranks(results_by_workers):
    for num_workers, result in workers(results_by_workers):
        expected = [[rank + 0.25, *FIGURES] for rank in range(num_workers)]
        np.testing.assert_array_equal(np.array(result["gathered"], dtype=np.float64), np.array(expected))


def test_weights_that_differ_in_one_bit_stop_all_workers_and_say_whose(results_by_workers):
    assert results_by_workers[1][0]["difference"] == "none"
    for num_workers, result in [
        *((2, result) for result in results_by_workers[2]),
        *((3, result) for result in results_by_workers[3]),
    ]:
        message = f"differ after step 3: worker 1 of {num_workers} has other values than the rest, first in "
        assert message in result["difference"]
        assert "middle/bias; start again" in result["difference"]


def test_an_epoch_continued_on_any_number_of_workers_ends_with_the_metrics_of_an_undisturbed_one(results_by_workers):
    undisturbed = results_by_workers[2][0]["undisturbed"]
    for num_workers, result in workers(results_by_workers):
        tolerance = 0.0 if num_workers == 2 else 1e-6  # as many workers round each total as before
        for name, values in undisturbed.items():
            np.testing.assert_allclose(result["continued"][name], values, rtol=tolerance, err_msg=name)


def test_metric_totals_of_another_model_are_refused(results_by_workers):
    for _, result in workers(results_by_workers):
        assert "received the totals of 1 metric variables, expected those of" in result["wrong_totals"]


def test_predictions_of_all_workers_come_in_the_order_of_the_rows(results_by_workers):
    for _, result in workers(results_by_workers):
        assert result["largest_prediction_error"] < 1e-6


def test_fewer_rows_than_workers_are_refused(results_by_workers):
    assert results_by_workers[1][0]["too_few_rows"] == "none"
    assert "received 1 rows to predict for 3 workers" in results_by_workers[3][0]["too_few_rows"]


def work(rank: int, ports: list[int], folder: Path) -> None:
    """Do all of it as one of the workers, and write what came out."""
    from headrace.components.training.workers.exchange import joined
    from headrace.components.training.workers.rendezvous import listen

    place = listen([("127.0.0.1", port) for port in ports], rank=rank, secret=bytes(32)) if len(ports) > 1 else None
    with joined(place) as exchange:
        result = {
            **stop_together(exchange),
            **exchange_figures(exchange),
            "difference": differ(exchange),
            **continue_epoch(exchange, folder / "stopped.npz"),
            **predict_rows(exchange),
        }
    (folder / f"{len(ports)}-{rank}.json").write_text(json.dumps(result))


def stop_together(exchange: Any) -> dict[str, Any]:
    """The last worker asks to stop after step 3; the first is slow."""
    import timeit

    rank, num_workers = exchange.rank, exchange.num_workers

    def after_step(step: int, model: Any, group: Any) -> None:
        if step == 3 and rank == num_workers - 1:
            group.ask_to_stop()
        if group.asked_to_stop:
            stopped.append(step)
            model.stop_training = True

    stopped: list[int] = []
    _, group = fit(compiled(exchange), exchange, after_step, slow=rank == 0)
    compute_seconds, again = group.compute_seconds(), group.compute_seconds()
    return {
        "stopped_after": stopped[0],
        "seconds_to_ask": timeit.timeit(lambda: group.asked_to_stop, number=1000) / 1000,
        "compute_seconds": compute_seconds,
        "compute_seconds_again": None if math.isnan(again) else again,
    }


def exchange_figures(exchange: Any) -> dict[str, Any]:
    gathered = [exchange.gather(np.array([[exchange.rank + 0.25, *FIGURES]])) for _ in range(2)][-1]
    return {"gathered": gathered.tolist()}


def differ(exchange: Any) -> str:
    """Worker 1 turns a bias of 0.0 into -0.0, equal as a number, in the middle of an epoch."""
    from headrace.components.errors import TrainingError
    from headrace.components.training.workers.group import require_equal_weights

    def after_step(step: int, model: Any, group: Any) -> None:
        if step != 3:
            return
        bias = model.get_layer("middle").bias
        if exchange.rank == 1:
            bias.assign(-bias)
        require_equal_weights(model, exchange, step=step)

    try:
        fit(compiled(exchange, learning_rate=0.0), exchange, after_step)
    except TrainingError as error:
        return str(error)
    return "none"


def continue_epoch(exchange: Any, path: Path) -> dict[str, Any]:
    """Two workers train an epoch, and its beginning only; any number of workers trains the rest."""
    from headrace.components.errors import TrainingError
    from headrace.components.training.workers.group import metric_state, restore_metric_state

    undisturbed: dict[str, Any] = {}
    if exchange.num_workers == 2:
        undisturbed, _ = fit(compiled(exchange), exchange)

        def stop(step: int, model: Any, group: Any) -> None:
            if step == STOPPED_AT:
                model.stop_training = True
                arrays = [
                    *values_of(model.weights),
                    *values_of(model.optimizer.variables),
                    *metric_state(model, exchange),
                ]
                if exchange.rank == 0:
                    np.savez(path, *arrays)
                exchange.gather(np.zeros(0))  # none continues before it is written

        fit(compiled(exchange), exchange, stop)
    model = compiled(exchange)
    variables = [*model.weights, *model.optimizer.variables]
    with np.load(path) as arrays:
        saved = [arrays[name] for name in arrays.files]
    for variable, values in zip(variables, saved, strict=False):
        variable.assign(values)
    totals = saved[len(variables) :]

    def restore(model: Any) -> None:
        restore_metric_state(model, totals, exchange)

    continued, _ = fit(model, exchange, first_step=STOPPED_AT, before_epoch=restore)
    try:
        restore_metric_state(model, totals[:1], exchange)
        refusal = "none"
    except TrainingError as error:
        refusal = str(error)
    return {"undisturbed": undisturbed, "continued": continued, "wrong_totals": refusal}


def predict_rows(exchange: Any) -> dict[str, Any]:
    import keras

    from headrace.components.errors import DataError
    from headrace.components.training.workers.group import predict

    keras.utils.set_random_seed(1)
    with exchange.strategy.scope():
        inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), name="b")}
        tensor = keras.layers.Concatenate()(list(inputs.values()))
        model = keras.Model(inputs, {"c": keras.layers.Dense(2)(tensor), "d": keras.layers.Dense(1)(tensor)})
    generator = np.random.default_rng(5)
    rows = {name: generator.normal(size=(8, width)).astype(np.float32) for name, width in (("a", 3), ("b", 2))}
    expected = model(rows)
    errors = []
    for count in (8, 7, 3):  # in batches of 2: parts of up to three batches, uneven, and of one row each
        some = {name: values[:count] for name, values in rows.items()}
        predicted = predict(model, some, exchange, batch_size=2)
        errors += [float(np.abs(predicted[name] - expected[name][:count]).max()) for name in expected]
    try:
        predict(model, {name: values[:1] for name, values in rows.items()}, exchange, batch_size=2)
        refusal = "none"
    except DataError as error:
        refusal = str(error)
    return {"largest_prediction_error": max(errors), "too_few_rows": refusal}


def compiled(exchange: Any, *, learning_rate: float = 0.01) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    with exchange.strategy.scope():
        middle = keras.layers.Dense(8, "relu", name="middle")
        model = keras.Sequential([keras.Input((5,)), middle, keras.layers.Dense(1, "sigmoid")])
        model.compile(
            keras.optimizers.Adam(learning_rate),
            "binary_crossentropy",
            metrics=["accuracy", keras.metrics.AUC(name="auc")],
        )
        model.optimizer.build(model.trainable_variables)
    return model


def fit(
    model: Any,
    exchange: Any,
    after_step: Any = None,
    *,
    before_epoch: Any = None,
    first_step: int = 0,
    slow: bool = False,
) -> tuple[dict[str, Any], Any]:
    """History of one epoch, from `first_step` on, and the group; `after_step` gets the count of steps done."""
    import keras

    from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset

    class Calls(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if before_epoch is not None:
                before_epoch(self.model)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if after_step is not None:
                after_step(batch + 1, self.model, group)

    batches = worker_dataset(serve(exchange.rank, exchange.num_workers, first_step=first_step, slow=slow))
    steps = STEPS - first_step
    with trained_by_all_workers(model, exchange, steps_per_epoch=steps, validation_steps=1) as group:
        history = model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[Calls()])
    return history.history, group


def serve(rank: int, num_workers: int, *, first_step: int, slow: bool) -> Any:
    import tensorflow as tf

    from headrace.components.training.batches import worker_slice

    generator = np.random.default_rng(0)
    features = generator.normal(size=(STEPS, EXAMPLES_PER_STEP, 5)).astype(np.float32)
    labels = (features[..., :1] > 0).astype(np.float32)
    own = worker_slice(EXAMPLES_PER_STEP, rank=rank, num_workers=num_workers)

    def part(step: Any) -> Any:
        batch = tf.constant(features)[step][own]
        if slow:
            noise = tf.random.stateless_uniform((2500, 2500), [0, step])
            batch += 0 * tf.reduce_mean(noise @ noise)
        return batch, tf.constant(labels)[step][own]

    return tf.data.Dataset.range(first_step, STEPS).map(part).repeat()


def values_of(variables: Any) -> list[Any]:
    return [np.asarray(variable.numpy()) for variable in variables]


if __name__ == "__main__":
    work(int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
