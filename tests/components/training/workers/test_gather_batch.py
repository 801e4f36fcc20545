"""`gather_batch` where nothing is exchanged; `test_embedding.py` trains two towers on several processes."""

import numpy as np
import pytest
import tensorflow as tf

from headrace import TrainingError, gather_batch
from headrace.components.training.workers.exchange import Alone
from headrace.components.training.workers.group import Group
from headrace.components.training.workers.step import Step, _current, current_step


def test_rows_are_ones_own_outside_of_a_training_and_on_one_worker():
    rows = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    outside = gather_batch(rows)
    with _current(Step(Group(), Alone())):
        alone = gather_batch(rows)
    for gathered, own in (outside, alone):
        np.testing.assert_array_equal(gathered, rows)
        assert own.numpy().tolist() == [0, 1]
    assert current_step() is None


def test_a_model_compiled_by_xla_is_refused_on_several_workers():
    exchange = Alone()
    exchange.num_workers = 2
    with _current(Step(Group(), exchange, updates=[])), pytest.raises(TrainingError, match="jit_compile=False"):
        gather_batch(tf.zeros([2, 3]))
