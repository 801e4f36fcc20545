"""What TensorFlow's pipeline serves is what `worker_order` says."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.training.batches import worker_order
from components.training.feed import evaluation_batches, training_batches


@settings(max_examples=15, deadline=None)
@given(
    examples=st.integers(9, 120),
    global_batch_size=st.integers(4, 40),
    seed=st.integers(0, 2**32 - 1),
    first_epoch=st.integers(0, 50),
    num_workers=st.integers(1, 3),
    data=st.data(),
)
def test_training_serves_the_order_of_the_numpy_definition(
    examples, global_batch_size, seed, first_epoch, num_workers, data
):
    rank = data.draw(st.integers(0, num_workers - 1))
    features = np.arange(examples, dtype=np.float32)[:, None]
    labels = np.arange(examples, dtype=np.int32)
    place = {"global_batch_size": global_batch_size, "seed": seed, "rank": rank, "num_workers": num_workers}
    expected = [
        part for epoch in range(first_epoch, first_epoch + 2) for part in worker_order(examples, epoch=epoch, **place)
    ]
    served = training_batches(features, labels, first_epoch=first_epoch, **place)
    for (batch_features, batch_labels), part in zip(served.as_numpy_iterator(), expected, strict=False):
        np.testing.assert_array_equal(batch_labels, part)
        np.testing.assert_array_equal(batch_features[:, 0], part)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_evaluation_serves_every_example_once_and_again(num_workers):
    features, labels = np.zeros((11, 2), np.float32), np.arange(11, dtype=np.int32)
    seen = []
    for rank in range(num_workers):
        served = evaluation_batches(features, labels, global_batch_size=4, rank=rank, num_workers=num_workers)
        batches = [batch_labels.tolist() for _, batch_labels in itertools.islice(served.as_numpy_iterator(), 6)]
        assert batches[:3] == batches[3:]
        seen += itertools.chain.from_iterable(batches[:3])
    assert sorted(seen) == list(range(11))
