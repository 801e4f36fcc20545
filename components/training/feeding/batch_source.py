"""Global batches of a split from any step on: made of its examples, or given as they are."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

from headrace.components.errors import DataError
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import StoredColumns
from headrace.components.training.feeding.feed import serve_evaluation, serve_training
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.workers.exchange import Exchange


class Part(NamedTuple):
    """Which worker's part of every global batch is served, and of how many workers."""

    rank: int
    num_workers: int


class BatchSource(Protocol):
    """Global batches that follow from the number of the step alone."""

    @property
    def steps(self) -> int:
        """Number of global batches in an epoch."""

    @property
    def windows(self) -> Windows | None:
        """The cut into global batches; None where their sizes are not known before they are read."""

    @property
    def examples_per_step(self) -> float:
        """Number of examples in a global batch, on average or in the first."""

    def first_examples(self, count: int) -> Columns:
        """At most `count` examples as arrays."""

    def require_enough(self, *, num_workers: int) -> None:
        """Raise DataError where a global batch that is known has fewer examples than there are workers."""

    def require_same(self, exchange: Exchange) -> None:
        """Raise DataError where workers are known to have other batches; every worker calls it."""

    def checks(self, exchange: Exchange, *, first_step: int) -> list[keras.callbacks.Callback]:
        """What compares the workers' batches as they train from a step on."""

    def training(self, part: Part, *, first_step: int, steps: int) -> AbstractContextManager[tf.data.Dataset]:
        """A worker's part of `steps` global batches or more, from `first_step` of all epochs on (0 is the first)."""

    def evaluation(self, part: Part, *, passes: int) -> AbstractContextManager[tf.data.Dataset]:
        """A worker's part of an epoch's global batches in their own order, `passes` times or more."""


Split = Columns | StoredColumns | BatchSource


@dataclass(frozen=True)
class ExampleBatches:
    """Batches of examples in memory or on disk; without `seed` they are in their own order."""

    columns: Columns | StoredColumns
    windows: Windows
    seed: int | None
    name: str

    @property
    def steps(self) -> int:
        """Number of global batches in an epoch."""
        return self.windows.steps

    @property
    def examples_per_step(self) -> float:
        """Number of examples in a global batch, on average."""
        return self.windows.examples / self.windows.steps

    def first_examples(self, count: int) -> Columns:
        """At most `count` examples, nor more than the smallest global batch has."""
        columns = self.columns
        if isinstance(columns, StoredColumns):
            columns = Columns(*next(iter(serve_evaluation(columns, self.windows, rank=0, num_workers=1))))
        return first_rows(columns, min(count, self.windows.smallest_batch))

    def require_enough(self, *, num_workers: int) -> None:
        """Raise DataError where a global batch has fewer examples than there are workers."""
        require_enough(self.windows, num_workers=num_workers, name=self.name)

    def require_same(self, exchange: Exchange) -> None:
        """The examples are the same by their SHA-256."""

    def checks(self, exchange: Exchange, *, first_step: int) -> list[keras.callbacks.Callback]:  # noqa: ARG002
        """Nothing: the order follows from seed and epoch."""
        return []

    @contextmanager
    def training(self, part: Part, *, first_step: int, steps: int) -> Iterator[tf.data.Dataset]:  # noqa: ARG002
        """A worker's part of all global batches from a step on, without end."""
        yield serve_training(self.columns, self.windows, seed=self.seed, first_step=first_step, **part._asdict())

    @contextmanager
    def evaluation(self, part: Part, *, passes: int) -> Iterator[tf.data.Dataset]:  # noqa: ARG002
        """A worker's part of all examples, over and over."""
        yield serve_evaluation(self.columns, self.windows, **part._asdict())


def batch_source(
    split: Split, *, global_batch_size: int, window_examples: int | None, seed: int | None, name: str
) -> BatchSource:
    """The batches of a split: as it gives them, or of its examples in an order that follows from the seed."""
    if isinstance(split, Columns | StoredColumns):
        return ExampleBatches(split, Windows(split.examples, global_batch_size, window_examples), seed, name)
    return split


def require_enough(windows: Windows, *, num_workers: int, name: str) -> None:
    """Raise DataError where a global batch of a split has fewer examples than there are workers."""
    if windows.smallest_batch < num_workers:
        raise DataError(
            f"the {name} split has {windows.examples} examples, and global batches of as few as "
            f"{windows.smallest_batch} for {num_workers} workers; lower train.num_workers, raise "
            "train.global_batch_size, or change the split's fractions"
        )


def first_rows(columns: Columns, count: int) -> Columns:
    """The first examples as arrays; what is ragged stays a tensor."""

    def first(values: Any) -> Any:
        is_dense = isinstance(values, tf.Tensor)
        return values[:count].numpy() if is_dense else values[:count]

    parts = (columns.features, columns.labels, *([] if columns.weights is None else [columns.weights]))
    return Columns(*(tf.nest.map_structure(first, part) for part in parts))
