"""Global batches of a `tf.data.Dataset`, from any step on."""

from typing import Any

import tensorflow as tf

from headrace.components.errors import DataError


class DatasetBatches:
    """Elements of a dataset, each a global batch (features, labels) or (features, labels, weights).

    A pass shuffles as the dataset says: the n-th one is the n-th iteration of the same dataset. (Keras 3.15 begins one
    more after each epoch, so in plain Keras it is every second one, unless `steps_per_epoch` is given.)
    Raises DataError for elements of another form.
    """

    is_python = False
    error: Exception | None = None  # of Python's code: TensorFlow's own errors need no other name

    def __init__(self, dataset: tf.data.Dataset, *, name: str) -> None:
        _require_batches(dataset.element_spec, name)
        options = tf.data.Options()
        options.deterministic = True
        self._dataset = dataset.with_options(options)
        cardinality = int(dataset.cardinality())
        if cardinality == 0:
            raise DataError(f"{name}: the tf.data.Dataset has no batches")
        self.length = cardinality if cardinality > 0 else None

    def from_step(self, first_step: int, *, epoch_steps: int) -> tf.data.Dataset:  # noqa: ARG002 - it has no epochs
        """All global batches from a step on, pass after pass; those before it are read, and thrown away."""
        return self._dataset.repeat().skip(first_step)

    def close(self) -> None:
        """Nothing is held."""


def _require_batches(specification: Any, name: str) -> None:
    if not isinstance(specification, tuple) or len(specification) not in (2, 3):
        raise DataError(
            f"{name}: expected a tf.data.Dataset of (features, labels) or (features, labels, weights), found elements "
            f"{str(specification)[:200]}"
        )
    for one in tf.nest.flatten(specification):
        if isinstance(one, tf.SparseTensorSpec):
            raise DataError(f"{name}: expected dense or ragged tensors, found {one}; map it with tf.sparse.to_dense")
        if one.shape.rank == 0:
            raise DataError(
                f"{name}: expected a tf.data.Dataset of global batches, found single examples ({one}); end it by "
                ".batch(n), n being the examples of all workers together"
            )
