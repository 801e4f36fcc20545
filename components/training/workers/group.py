"""What the workers exchange besides gradients: requests to stop and, between steps, totals of metrics and digests.

Every worker calls each of the functions, at the same point.
"""

import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.compatibility.keras_internals import DISTRIBUTE_STRATEGY, RESULT_OR_LOGS, seed_states
from headrace.components.errors import DataError, TrainingError
from headrace.components.training.batches import worker_slice
from headrace.components.training.workers.attribute_override import Override, overridden
from headrace.components.training.workers.exchange import Exchange
from headrace.components.training.workers.owned_optimizers import owned_optimizers
from headrace.components.training.workers.step_logs import StepLogs

PIECE_BYTES = 1 << 24
END = 4096  # a request to end the training, as against one to stop it; float32 adds up as many workers' exactly


class Group:
    """The workers that train one model; `trained_by_all_workers` gives one to each of them."""

    def __init__(self) -> None:
        self._asks_to_end = False
        self.once_traced: Callable[[], None] | None = None  # called when all variables are made, before the first step
        self._asks = False  # a plain flag: a signal handler may set it at any moment, even within TensorFlow
        self.heard: Any = 0.0  # the sum of all requests at the last step executed, as it came out of that
        with tf.device("CPU"):
            self.requests = tf.Variable(0.0, trainable=False)
            self._steps = tf.Variable(0, trainable=False, dtype=tf.int64)  # since it began; an optimizer may skip some
            self._times = tf.Variable([0.0, 0.0, 0.0, 0.0], trainable=False, dtype=tf.float64)
        self._asked_times = np.zeros(4)
        self.steps_given: tf.Tensor | None = None  # to what XLA compiles, which on a GPU can't read the CPU's variable

    def ask_to_stop(self) -> None:
        """Ask all workers to stop, from any thread or signal handler; the next execution of steps notifies them."""
        self._asks = True

    @property
    def asked_to_stop(self) -> bool:
        """Whether any worker had asked by the last step: the same answer on all workers after the same step."""
        return float(self.heard) % END > 0

    def ask_to_end(self) -> None:
        """Ask all workers to end the training as if it were done, which a callback may do."""
        self._asks_to_end = True

    @property
    def asked_to_end(self) -> bool:
        """Whether a callback of any worker had ended the training by the last step; the same on all workers."""
        return float(self.heard) >= END

    def compute_seconds(self) -> float:
        """Return the mean seconds a step took this worker before the exchange, since this was last asked.

        It is the wait for the batch and both passes: what is long on a slow worker only, unless layers exchange within
        the passes (synchronized BatchNormalization), where all wait for the slowest. NaN where no step was made.
        """
        times = self.times()
        seconds, _, _, steps = times - self._asked_times
        self._asked_times = times
        return float(seconds / steps) if steps else math.nan

    def times(self) -> NDArray[np.float64]:
        """Return float64[4], sums over all steps so far: seconds before the exchange, feeding, exchange, and steps.

        Feeding is the part of the seconds before the exchange in which the worker waited for its batch.
        """
        times: NDArray[np.float64] = self._times.numpy()
        return times

    def request(self) -> tf.Tensor:
        """float32[], what this worker has requested, as a number: its part of the sum that notifies all workers."""
        with tf.device("CPU"):
            return tf.constant(float(self._asks + END * self._asks_to_end))

    def steps_done(self) -> tf.Tensor:
        """Return int64[], how many steps were made before this one, to be called within a step."""
        if self.steps_given is not None:
            return self.steps_given
        with tf.device("CPU"):
            return self._steps.read_value()

    def record(
        self,
        *,
        seconds: tf.Tensor,
        requests: tf.Tensor,
        feeding_seconds: tf.Tensor | float = 0.0,
        exchange_seconds: tf.Tensor | float = 0.0,
    ) -> None:
        """Add, within a step, its `seconds` before the exchange and the sum of all requests (float32[]).

        `feeding_seconds` are those of them before the batch was there; all seconds are float64[].
        """
        with tf.device("CPU"):
            given = (seconds, feeding_seconds, exchange_seconds, 1.0)
            self._times.assign_add(tf.stack([tf.cast(one, tf.float64) for one in given]))
            self.requests.assign(requests)
            self._steps.assign_add(1)


def require_equal_weights(model: keras.Model, exchange: Exchange, *, step: int) -> None:
    """Raise TrainingError on all workers unless all that a training continues from is equal bit for bit.

    That is the weights, trained or not, the variables of all optimizers, and the states of random generators. The
    CRC-32 of each piece of each variable is compared: it finds every difference of up to 32 bits in a row, and misses
    one of 4 billion others. Cryptographic digests would take longer, for nobody who would deceive.
    """
    if exchange.num_workers == 1:
        return
    of_optimizers = [variable for optimizer in owned_optimizers(model) for variable in optimizer.variables]
    variables = [*model.weights, *of_optimizers, *seed_states(model)]
    pieces = [(variable, piece) for variable in variables for piece in _pieces(local_value(variable))]
    with ThreadPoolExecutor(_threads()) as threads:  # zlib lets go of Python's lock
        own = list(threads.map(zlib.crc32, (piece for _, piece in pieces)))
    checksums = exchange.gather(np.array([own], np.uint32))
    for (variable, _), column in zip(pieces, checksums.T, strict=True):
        [(most_common, _)] = Counter(column.tolist()).most_common(1)
        others = np.flatnonzero(column != most_common).tolist()
        if others:
            raise TrainingError(
                f"the workers' weights differ after step {step}: worker {', '.join(map(str, others))} of "
                f"{len(column)} has other values than the rest, first in {variable.path}; start again from the newest "
                "checkpoint, and look for a layer that updates it from this worker's own examples, or a callback that "
                "acts differently on each worker"
            )


def metric_state(model: keras.Model, exchange: Exchange) -> list[NDArray[np.float64]]:
    """Return the epoch's running totals of loss and metrics: one array per variable, whose first axis is the worker."""
    local = [_local(variable).numpy().astype(np.float64) for variable in model.metrics_variables]
    gathered = exchange.gather(np.concatenate([values.ravel() for values in local])[np.newaxis])
    ends = np.cumsum([values.size for values in local])
    parts = np.split(gathered, ends[:-1], axis=1)
    return [part.reshape(-1, *values.shape) for part, values in zip(parts, local, strict=True)]


def restore_metric_state(model: keras.Model, state: Sequence[NDArray[np.float64]], exchange: Exchange) -> None:
    """Continue an epoch's metrics from `state`, on any number of workers.

    Each worker continues its own totals, so that they are rounded as if nothing had happened. Another number of workers
    than those of `state` leaves the sums to worker 0.

    To be called within `fit`, from a callback's `on_epoch_begin`, before which Keras sets them to zero. Raises
    TrainingError if `state` is another model's.
    """
    variables = model.metrics_variables
    if [values.shape[1:] for values in state] != [tuple(variable.shape) for variable in variables]:
        raise TrainingError(
            f"received the totals of {len(state)} metric variables, expected those of {len(variables)}; the metrics of "
            "a model can't change within an epoch: continue from a checkpoint at the end of one"
        )
    for variable, values in zip(variables, state, strict=True):
        if len(values) == exchange.num_workers:
            own = values[exchange.rank]
        else:
            own = values.sum(axis=0) if exchange.rank == 0 else np.zeros_like(values[0])
        _local(variable).assign(own)


def metric_overrides(model: keras.Model, exchange: Exchange) -> list[Override]:
    """What makes `fit` and `evaluate` report an epoch's metrics of all workers, and each step's of this worker alone.

    A strategy of several replicas has metric variables that TensorFlow adds up as they are read.
    """
    if exchange.num_workers == model.distribute_strategy.num_replicas_in_sync:
        return []
    plain_result, plain_figures = model.get_metrics_result, getattr(model, RESULT_OR_LOGS)

    def get_metrics_result() -> Any:
        if tf.inside_function():
            return plain_result()
        with _totals(model, exchange):
            return plain_result()

    def figures(logs: Any) -> Any:
        chosen = plain_figures(logs)
        return chosen if chosen is not logs or not isinstance(logs, StepLogs) else _global_logs(logs, model, exchange)

    return [(model, "get_metrics_result", get_metrics_result), (model, RESULT_OR_LOGS, figures)]


@contextmanager
def _totals(model: keras.Model, exchange: Exchange) -> Iterator[None]:
    """Have the totals of all workers in a model's metrics for the length of the block."""
    own = [variable.numpy() for variable in model.metrics_variables]
    _assign(model.metrics_variables, [values.sum(axis=0) for values in metric_state(model, exchange)])
    try:
        yield
    finally:
        _assign(model.metrics_variables, own)


def _global_logs(logs: StepLogs, model: keras.Model, exchange: Exchange) -> dict[str, Any]:
    """What a train_step of one's own has returned at last: its metrics of all workers' totals, and the mean of others.

    Others are weighted by the examples that each worker had in that step.
    """
    others = {name: value for name, value in logs.items() if name not in logs.metrics}
    own = keras.tree.map_structure(lambda value: np.asarray(value, np.float64), others)
    values = keras.tree.flatten(own)
    flat = np.concatenate([[1.0], *(value.ravel() for value in values)]) * float(logs.examples)
    total = exchange.gather(flat[np.newaxis]).sum(axis=0)
    ends = np.cumsum([value.size for value in values])
    parts = np.split(total[1:] / total[0], ends[:-1]) if values else []
    shaped = [part.reshape(value.shape) for part, value in zip(parts, values, strict=True)]
    means = keras.tree.pack_sequence_as(own, shaped)
    with _totals(model, exchange):
        # Of compiled metrics, all together are one metric, whose result is a dict.
        results = {name: keras.tree.map_structure(np.asarray, metric.result()) for name, metric in logs.metrics.items()}
    return {name: {**means, **results}[name] for name in logs}


def predict(model: keras.Model, features: Any, exchange: Exchange, *, batch_size: int) -> Any:
    """Predictions of `model.predict` for all rows of `features`, in their order, on every worker.

    `features` is an array, or a structure of arrays with as many rows each, the same on every worker, which computes
    its own part of the rows. Raises DataError if there are fewer rows than workers.
    """
    rows = len(tf.nest.flatten(features)[0])
    if rows < exchange.num_workers:
        raise DataError(
            f"received {rows} rows to predict for {exchange.num_workers} workers, expected at least one for each"
        )
    part = worker_slice(rows, rank=exchange.rank, num_workers=exchange.num_workers)
    own = tf.nest.map_structure(lambda values: values[part], features)
    # Without the strategy: Keras would exchange every batch.
    with overridden((model, DISTRIBUTE_STRATEGY, None), (model, "predict_function", None)):
        predictions = model.predict(own, batch_size=batch_size, verbose=0)
    return tf.nest.map_structure(exchange.gather, predictions)


def local_value(variable: keras.Variable) -> NDArray[Any]:
    """The present value of the worker's own copy of a variable, not to be written to.

    On a CPU nothing is copied, and yet it stays: TensorFlow itself copies a value that somebody still holds before it
    updates the variable.
    """
    return np.asarray(_local(variable).read_value())


def _pieces(values: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    """The bytes of an array, divided so that several threads have something to do."""
    whole = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    for first in range(0, max(1, whole.size), PIECE_BYTES):
        yield whole[first : first + PIECE_BYTES]


def _threads() -> int:
    """How many threads this worker computes with."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))


def _local(variable: keras.Variable) -> tf.Variable:
    """The worker's own copy of a variable: reading a metric's as it is would sum it over the workers."""
    strategy = getattr(variable.value, "distribute_strategy", None)
    return variable.value if strategy is None else strategy.experimental_local_results(variable.value)[0]


def _assign(variables: Sequence[keras.Variable], values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
