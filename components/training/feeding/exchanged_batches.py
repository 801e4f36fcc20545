"""Global batches of a split whose shards are spread over the nodes: every worker gets its own rows from all of them.

The rows of the next window are fetched by a thread while one is trained on. They go to TensorFlow's pipeline through a
queue of its own: no operation waits for Python, whose lock the end of an iterator may hold.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import polars as pl
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.training.batches import Windows
from headrace.components.training.feeding.batch_source import Part, first_rows, require_enough
from headrace.components.training.feeding.feed import PREFETCHED_BATCHES, decoded
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.feeding.window_parts import ShardLayout, WindowPart
from headrace.components.training.workers.exchange import Exchange

WINDOWS_AHEAD = 1  # in the queue, beside the one that is being fetched
STOP_SECONDS = 10.0  # for a thread that is asked to stop; it ends with the process if it does not

Form = Callable[[pl.DataFrame], Columns]


class Nodes(Protocol):
    """All nodes with their shards."""

    def rows(self, part: WindowPart) -> Sequence[pl.DataFrame | None]:
        """What `NodeRows.rows` gives on each node, in the order of nodes."""


@dataclass(frozen=True)
class ExchangedBatches:
    """A split as the batches that it has in memory or on disk, bit for bit; without `seed` in its own order.

    `columns_of` makes features, labels and weights of the rows of a window. With `image_divisor` the features are
    files of images, bytes[rows], whose pixels, 0 to 255, are divided by it. `shape` is that of one example's features.
    """

    nodes: Nodes
    layout: ShardLayout
    windows: Windows
    seed: int | None
    name: str
    columns_of: Form
    shape: tuple[int, ...]
    image_divisor: float | None = None

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
        count = min(count, self.windows.smallest_batch)
        window = self._fetched(
            WindowPart(self.name, self.layout, Windows(count, count), None, 0, rank=0, num_workers=1)
        )
        with tf.device("CPU"):
            examples = next(iter(self._decoded(tf.data.Dataset.from_tensors(window.columns))))
        return first_rows(Columns(*examples), count)

    def require_enough(self, *, num_workers: int) -> None:
        """Raise DataError where a global batch has fewer examples than there are workers."""
        require_enough(self.windows, num_workers=num_workers, name=self.name)

    def require_same(self, exchange: Exchange) -> None:
        """The shards are the same by their digests."""

    def checks(self, exchange: Exchange, *, first_step: int) -> list[keras.callbacks.Callback]:  # noqa: ARG002
        """Nothing: the order follows from seed and epoch."""
        return []

    @contextmanager
    def training(self, part: Part, *, first_step: int, steps: int) -> Iterator[tf.data.Dataset]:
        """A worker's part of the global batches from a step on, to be read once: `steps` and the rest of a window."""
        epoch, step = divmod(first_step, self.windows.steps)
        end_epoch, end_step = divmod(first_step + steps - 1, self.windows.steps)
        numbers = range(self._number(epoch, step), self._number(end_epoch, end_step) + 1)
        with self._served(part, numbers, seed=self.seed, first_step=step) as served:
            yield served

    @contextmanager
    def evaluation(self, part: Part, *, passes: int) -> Iterator[tf.data.Dataset]:
        """A worker's part of all examples, `passes` times: each iterator reads one pass, and all of it."""
        with self._served(part, range(passes * self.windows.count), seed=None, at_once=self.windows.count) as served:
            yield served

    def _number(self, epoch: int, step: int) -> int:
        return epoch * self.windows.count + self.windows.window_of(step)

    @contextmanager
    def _served(
        self, part: Part, numbers: range, *, seed: int | None, first_step: int = 0, at_once: int | None = None
    ) -> Iterator[tf.data.Dataset]:
        """Batches of windows by their numbers; each iterator reads `at_once` of them, or all."""

        def window(number: int) -> _Window:
            step = first_step if number == numbers.start else 0
            return self._fetched(
                WindowPart(self.name, self.layout, self.windows, seed, number, part.rank, part.num_workers, step)
            )

        ahead = _Ahead(window, numbers)
        try:
            batches = _batches(ahead, numbers[: at_once or len(numbers)])
            yield self._decoded(batches).prefetch(PREFETCHED_BATCHES)
        except tf.errors.OpError as error:
            if ahead.error is not None:
                raise ahead.error from error
            raise
        finally:
            ahead.stop()

    def _fetched(self, part: WindowPart) -> "_Window":
        tables = self.nodes.rows(part)
        order = np.argsort(self.layout.nodes_of(part.rows), kind="stable")  # as the tables are, one after another
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        table = pl.concat([one for one in tables if one is not None and len(one)])[places]
        columns = self.columns_of(table)
        weights = [] if columns.weights is None else [columns.weights]
        edges = np.concatenate([[0], np.cumsum([len(batch) for batch in part.batches])]).astype(np.int64)
        with tf.device("CPU"):
            return _Window(edges, tf.nest.map_structure(tf.constant, (columns.features, columns.labels, *weights)))

    def _decoded(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        return batches if self.image_divisor is None else decoded(batches, self.shape, self.image_divisor)


class _Window(NamedTuple):
    """A worker's rows of a window, and where each of its batches begins and the last ends, int64[batches + 1]."""

    edges: NDArray[np.int64]
    columns: Any


class _Ahead:
    """A thread that fetches windows into a queue, each once, and no more than `WINDOWS_AHEAD` beside one in its hands.

    What it raises is kept in `error`, and ends the pipeline that reads the queue.
    """

    def __init__(self, fetch: Callable[[int], _Window], numbers: range) -> None:
        self.error: Exception | None = None
        first = fetch(numbers.start)
        self.form = tf.nest.map_structure(lambda one: tf.TensorSpec([None, *one.shape[1:]], one.dtype), first.columns)
        with tf.device("CPU"):
            types = [tf.int64, tf.int64, *(one.dtype for one in tf.nest.flatten(self.form))]
            self.queue = tf.queue.FIFOQueue(WINDOWS_AHEAD, types)
        self._fetch, self._numbers, self._is_stopping = fetch, numbers, threading.Event()
        self._thread = threading.Thread(target=self._run, args=(first,), name="windows", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._is_stopping.set()
        self.queue.close(cancel_pending_enqueues=True)
        self._thread.join(STOP_SECONDS)

    def _run(self, window: _Window) -> None:
        with suppress(tf.errors.CancelledError):  # the queue was closed
            try:
                for number in self._numbers:
                    if number != self._numbers.start:
                        window = self._fetch(number)
                    if self._is_stopping.is_set():
                        return
                    self._put(number, window)
            except tf.errors.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - it is raised where the pipeline ends
                self.error = error
                empty = tf.nest.map_structure(lambda one: tf.zeros([0, *one.shape[1:]], one.dtype), self.form)
                self._put(-1, _Window(np.zeros(1, np.int64), empty))

    def _put(self, number: int, window: _Window) -> None:
        with tf.device("CPU"):
            self.queue.enqueue([np.int64(number), window.edges, *tf.nest.flatten(window.columns)])


def _batches(ahead: _Ahead, numbers: range) -> tf.data.Dataset:
    """Batches of the next windows of a queue; the next iterator continues with the windows after them."""
    specifications = tf.nest.flatten(ahead.form)

    def opened(number: tf.Tensor) -> Any:
        found, edges, *columns = ahead.queue.dequeue()
        place = tf.where(found < 0, found, (found - numbers.start) % len(numbers))
        # -1 after an error; another number where an iterator has left its windows before their end.
        tf.debugging.assert_equal(place, number, "the next window could not be fetched")
        shaped = [tf.ensure_shape(one, form.shape) for one, form in zip(columns, specifications, strict=True)]
        return tf.ensure_shape(edges, [None]), tuple(shaped)

    def batches(edges: tf.Tensor, columns: Any) -> tf.data.Dataset:
        def batch(step: tf.Tensor) -> Any:
            return tf.nest.pack_sequence_as(ahead.form, [one[edges[step] : edges[step + 1]] for one in columns])

        return tf.data.Dataset.range(tf.size(edges, tf.int64) - 1).map(batch)

    return tf.data.Dataset.range(len(numbers), output_type=tf.int64).map(opened).flat_map(batches)
