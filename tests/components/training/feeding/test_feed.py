"""What TensorFlow's pipeline serves is what `worker_order` says."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.training.batches import Windows, worker_order
from headrace.components.training.feeding.feed import serve_evaluation, serve_training
from headrace.components.training.feeding.order import batch_examples
from headrace.components.training.feeding.split_arrays import Columns

cuts = st.builds(Windows, st.integers(9, 120), st.integers(4, 40), st.none() | st.integers(16, 64))


def numbered(examples: int) -> Columns:
    """Columns whose every value is the example's index."""
    index = np.arange(examples)
    return Columns(index[:, None].astype(np.float32), index.astype(np.int32), index.astype(np.float32))


@settings(max_examples=15, deadline=None)
@given(
    windows=cuts,
    seed=st.integers(0, 2**32 - 1),
    first_epoch=st.integers(0, 50),
    num_workers=st.integers(1, 3),
    data=st.data(),
)
def test_training_serves_the_order_of_the_numpy_definition_from_any_step(windows, seed, first_epoch, num_workers, data):
    first_step = data.draw(st.integers(0, windows.steps))
    place = {"seed": seed, "rank": data.draw(st.integers(0, num_workers - 1)), "num_workers": num_workers}
    expected = worker_order(windows, epoch=first_epoch, first_step=first_step, **place)
    expected += worker_order(windows, epoch=first_epoch + 1, **place)
    served = serve_training(
        numbered(windows.examples), windows, first_epoch=first_epoch, first_step=first_step, **place
    )
    for batch, part in zip(served.as_numpy_iterator(), expected, strict=False):
        features, labels, weights = batch
        np.testing.assert_array_equal(features[:, 0], part)
        np.testing.assert_array_equal(labels, part)
        np.testing.assert_array_equal(weights, part)


def test_a_set_in_memory_is_one_window_and_its_weights_come_last():
    columns, windows, place = numbered(23), Windows(23, 5), {"rank": 0, "num_workers": 2}
    [expected, *_] = worker_order(Windows(23, 5), seed=1, epoch=2, rank=0, num_workers=2, first_step=3)
    unweighted = Columns(columns.features, columns.labels)
    served = serve_training(unweighted, windows, seed=1, first_epoch=2, first_step=3, **place)
    features, labels = next(served.as_numpy_iterator())
    np.testing.assert_array_equal(features[:, 0], expected)
    np.testing.assert_array_equal(labels, expected)
    served = serve_evaluation(columns, windows, **place)
    assert [values.tolist() for values in next(served.as_numpy_iterator())][1:] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("window_examples", [None, 16])
@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_evaluation_serves_every_example_once_and_again(num_workers, window_examples):
    windows, parts = Windows(41, 6, window_examples), []
    for rank in range(num_workers):
        served = serve_evaluation(numbered(41), windows, rank=rank, num_workers=num_workers)
        batches = [labels.tolist() for _, labels, _ in itertools.islice(served.as_numpy_iterator(), 2 * windows.steps)]
        assert batches[: windows.steps] == batches[windows.steps :]
        parts.append(batches[: windows.steps])
    in_order = itertools.chain.from_iterable(itertools.chain.from_iterable(zip(*parts, strict=True)))
    assert list(in_order) == list(range(41))


@settings(max_examples=10, deadline=None)
@given(windows=cuts)
def test_the_size_of_a_step_s_batch_as_a_tensor(windows):
    sizes = [int(batch_examples(windows, tf.constant(step, tf.int64))) for step in range(windows.steps)]
    places = [windows.batch_slice(step) for step in range(windows.steps)]
    assert sizes == [place.stop - place.start for place in places]
