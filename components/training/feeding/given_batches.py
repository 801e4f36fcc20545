"""Global batches that a function of the user's makes: those of a `keras.utils.PyDataset` or a `tf.data.Dataset`.

Each element is one global batch, of which a worker takes its rows: so every worker makes the dataset, and a batch has
to follow from the number of its step alone. What the function draws follows from the seed. That all workers have the
same batches is verified at the first of every epoch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from headrace.components.errors import DataError
from headrace.components.own_code.importable_code import NO_CODE, OwnCode
from headrace.components.training.batches import worker_slice
from headrace.components.training.feeding.batch_source import Part, first_rows
from headrace.components.training.feeding.feed import PREFETCHED_BATCHES
from headrace.components.training.feeding.given_data import require_known_position
from headrace.components.training.feeding.own_random import OwnRandom
from headrace.components.training.feeding.py_dataset import PyDatasetBatches
from headrace.components.training.feeding.split_arrays import Columns, first_array
from headrace.components.training.feeding.tf_dataset import DatasetBatches
from headrace.components.training.workers.exchange import Exchange

HOW_TO_FIX = (
    "a batch has to follow from its step alone: give shuffle() a seed=, draw by "
    "numpy.random.default_rng((seed, index)) or tf.random.stateless_uniform, and leave out deterministic=False"
)
_TOO_FEW = "a global batch has fewer examples than there are workers"


class _First(NamedTuple):
    """What the first global batch says: the batches of a pass (None: not known), its examples, and its digest."""

    length: int | None
    batch: Columns
    digest: int


class GivenBatches:
    """A split of global batches, made again by `make` wherever it is read from another step.

    With `shuffle` the batches of a PyDataset have an order that follows from `seed` and the epoch, as Keras shuffles
    them; a tf.data.Dataset shuffles itself. An epoch is one pass, or `steps_per_epoch` steps. What `make` raises is
    named by its place in `code`.
    """

    windows = None  # the sizes of batches are known once they are read

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        seed: int,
        name: str,
        shuffle: bool = True,
        steps_per_epoch: int | None = None,
        code: OwnCode = NO_CODE,
    ) -> None:
        self._make, self._seed, self._name, self._shuffle, self._code = make, seed, name, shuffle, code
        self._steps_per_epoch = steps_per_epoch

    @cached_property
    def _first(self) -> _First:
        with self._opened() as batches, self._errors_named(batches):
            for batch in self._whole(batches, first_step=0).take(1):
                columns = first_rows(Columns(*batch), self._rows(batch))
                return _First(batches.length, columns, int(_digest(batch)))
        raise DataError(f"{self._name}: the dataset has no batches")

    @cached_property
    def steps(self) -> int:
        """Number of global batches in an epoch; raises DataError where neither setting nor dataset says it."""
        steps = self._steps_per_epoch or self._first.length
        if steps is None:
            other = ", or give steps_per_epoch=" if self._name == "train" else ""
            raise DataError(
                f"{self._name}: the dataset has no end, or its length is not known; end it by take(n) or "
                f"tf.data.experimental.assert_cardinality(n){other}"
            )
        return steps

    @property
    def examples_per_step(self) -> float:
        """Number of examples of the first batch."""
        return float(self._first.batch.examples)

    def first_examples(self, count: int) -> Columns:
        """At most `count` examples of the first batch."""
        return first_rows(self._first.batch, count)

    def require_enough(self, *, num_workers: int) -> None:
        """Raise DataError where the first batch has fewer examples than there are workers."""
        if self.steps and self._first.batch.examples < num_workers:
            raise self._too_few(num_workers)

    def require_same(self, exchange: Exchange) -> None:
        """Raise DataError unless all workers have the same first batch."""
        self._compare(self._first.digest, exchange, step=0)

    @contextmanager
    def training(self, part: Part, *, first_step: int, steps: int) -> Iterator[tf.data.Dataset]:
        """A worker's part of `steps` global batches, from a step on; the digests of epochs' first ones are noted."""
        digests, epoch_steps = self._digests, self.steps  # not within the trace of a pipeline

        def note(step: tf.Tensor, batch: Any) -> tf.Tensor:
            with tf.control_dependencies([digests.insert(step, _digest(batch))]):
                return tf.constant(0)

        def noted(step: tf.Tensor, batch: Any) -> None:
            is_first = tf.logical_or(step == first_step, step % epoch_steps == 0)
            tf.cond(is_first, lambda: note(step, batch), lambda: tf.constant(0))

        with self._served(part, first_step=first_step, steps=steps, seen=noted) as served:
            yield served

    @contextmanager
    def evaluation(self, part: Part, *, passes: int) -> Iterator[tf.data.Dataset]:
        """A worker's part of all global batches, `passes` times."""
        with self._served(part, first_step=0, steps=passes * self.steps) as served:
            yield served

    def checks(self, exchange: Exchange, *, first_step: int) -> list[keras.callbacks.Callback]:
        """What compares the workers' batches while they train."""
        return [_SameBatches(self, exchange, first_step)]

    def require_same_at(self, step: int, exchange: Exchange) -> None:
        """Raise DataError unless all workers had the same batch at a step that begins an epoch or a `fit`."""
        found = int(self._digests.lookup(tf.constant(step, tf.int64)))
        self._compare(found, exchange, step=step)
        if step == 0 and found != self._first.digest:
            raise DataError(f"{self._name}: the first batch is another one each time it is read; {HOW_TO_FIX}")

    @cached_property
    def _digests(self) -> Any:
        """Digests of batches by their step: a table of TensorFlow's, which the pipeline writes to."""
        with tf.init_scope(), tf.device("CPU"):
            return tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)

    @contextmanager
    def _opened(self, *, is_evaluation: bool = False) -> Iterator[DatasetBatches | PyDatasetBatches]:
        random = OwnRandom(self._seed)
        tf.random.set_seed(self._seed)
        with self._code.errors_named(), random.active():
            made = self._make()
        match made:
            case keras.utils.PyDataset():
                seed = self._seed if self._shuffle else None
                batches: Any = PyDatasetBatches(
                    made, random=random, seed=seed, name=self._name, is_evaluation=is_evaluation
                )
            case tf.data.Dataset():
                batches = DatasetBatches(made, name=self._name)
            case _:
                require_known_position(made, self._name)
                raise DataError(
                    f"{self._name}: expected a function that returns a keras.utils.PyDataset or a tf.data.Dataset, it "
                    f"returned {type(made).__name__}"
                )
        try:
            yield batches
        finally:
            batches.close()

    def _whole(self, batches: DatasetBatches | PyDatasetBatches, *, first_step: int) -> tf.data.Dataset:
        """All global batches from a step on, without end."""
        epoch_steps = self._steps_per_epoch or batches.length or 1
        with self._code.errors_named():  # a PyDataset reads batches here
            return batches.from_step(first_step, epoch_steps=epoch_steps)

    @contextmanager
    def _served(
        self, part: Part, *, first_step: int, steps: int, seen: Callable[[tf.Tensor, Any], None] | None = None
    ) -> Iterator[tf.data.Dataset]:
        """A worker's part of some global batches; `seen` is called with each whole one, and its step."""

        def own_rows(step: tf.Tensor, batch: Any) -> Any:
            if seen is not None:
                seen(step, batch)
            examples = tf.shape(first_array(batch), tf.int64)[0]
            tf.debugging.assert_greater_equal(examples, np.int64(part.num_workers), f"{self._name}: {_TOO_FEW}")
            own = worker_slice(examples, **part._asdict())
            return tf.nest.map_structure(lambda values: values[own], batch)

        opened = self._opened(is_evaluation=seen is None)
        with opened as batches, self._errors_named(batches, num_workers=part.num_workers):
            # No more than is needed: a thread that still reads ahead, in Python, would keep TensorFlow from ending it.
            whole = self._whole(batches, first_step=first_step).take(steps)
            served = whole.enumerate(first_step).map(own_rows)
            yield served if batches.is_python else served.prefetch(PREFETCHED_BATCHES)

    def _compare(self, digest: int, exchange: Exchange, *, step: int) -> None:
        digests = exchange.gather(np.array([digest], np.int64))
        others = [str(rank) for rank, found in enumerate(digests) if found != digests[0]]
        if others:
            raise DataError(
                f"{self._name}: the batch of step {step + 1} of worker {', '.join(others)} is not that of worker 0; "
                f"{HOW_TO_FIX}"
            )

    @contextmanager
    def _errors_named(self, batches: DatasetBatches | PyDatasetBatches, *, num_workers: int = 1) -> Iterator[None]:
        """Raise what the user's code raised, instead of TensorFlow's words on it."""
        try:
            yield
        except tf.errors.OpError as error:
            if batches.error is not None:
                with self._code.errors_named():
                    raise batches.error from error
            if f"{self._name}: {_TOO_FEW}" in str(error):
                raise self._too_few(num_workers) from error
            raise

    def _rows(self, batch: Any) -> int:
        """The number of examples of a batch; raises DataError where its tensors differ in it."""
        counts = {int(tf.shape(one, tf.int64)[0]) for one in tf.nest.flatten(batch)}
        if len(counts) > 1:
            raise DataError(
                f"{self._name}: expected elements of as many features as labels, found one of "
                f"{', '.join(map(str, sorted(counts)))}; end the dataset by .batch(n)"
            )
        return counts.pop()

    def _too_few(self, num_workers: int) -> DataError:
        return DataError(
            f"{self._name}: {_TOO_FEW} ({num_workers}); make batches with drop_remainder=True, or train with fewer "
            "workers"
        )


class _SameBatches(keras.callbacks.Callback):  # type: ignore[misc]
    """Compares the workers' batches after the first step of every epoch, before anything of it is kept."""

    def __init__(self, source: GivenBatches, exchange: Exchange, first_step: int) -> None:
        super().__init__()
        self._source, self._exchange, self._step = source, exchange, first_step
        self._is_due = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Compare, once an epoch."""
        if self._is_due:
            self._source.require_same_at(self._step, self._exchange)
            self._is_due = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """The next epoch begins with the next multiple of its steps."""
        self._step = (self._step // self._source.steps + 1) * self._source.steps
        self._is_due = True


def _digest(batch: Any) -> tf.Tensor:
    """A digest of all values of a batch, int64[]."""
    with tf.device("CPU"):
        flat = [tf.reshape(one, [1, -1]) for one in tf.nest.flatten(batch, expand_composites=True)]
        digests = tf.concat([tf.fingerprint(one) for one in flat], axis=1)
        return tf.bitcast(tf.fingerprint(digests)[0], tf.int64)
