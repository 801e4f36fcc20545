"""What a data set of a function has to be, and what a worker gets of it."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.errors import DataError, ParamsError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.training.feeding.batch_source import Part
from headrace.components.training.feeding.given_batches import GivenBatches

ROWS = 10


class Words(keras.utils.PyDataset):
    """Texts, lengths that differ from batch to batch, and float64."""

    def __init__(self, change: Callable[[int, Any], Any] = lambda index, batch: batch, **others: Any) -> None:
        super().__init__(**others)
        self.change = change

    def __len__(self) -> int:
        return math.ceil(ROWS / 4)

    def __getitem__(self, index: int) -> Any:
        rows = min(4, ROWS - 4 * index)
        texts = np.array([f"{index}-{row}" for row in range(rows)])
        return self.change(index, ((texts, np.full((rows, index + 1), index, float)), np.arange(rows)))


def given(make: Callable[[], Any], **settings: Any) -> GivenBatches:
    return GivenBatches(make, **{"seed": 1, "name": "train", "shuffle": False, **settings})


def served(source: GivenBatches, rank: int, num_workers: int, first_step: int = 0, steps: int = 3) -> list[Any]:
    with source.training(Part(rank, num_workers), first_step=first_step, steps=steps) as dataset:
        return list(dataset.as_numpy_iterator())


def test_workers_get_their_rows_of_each_batch_in_the_form_that_keras_takes():
    parts = [served(given(Words), rank, 2) for rank in range(2)]

    for index, ((one, labels), (other, _)) in enumerate(zip(*parts, strict=True)):
        texts, numbers = one
        assert [*texts, *other[0]] == [f"{index}-{row}".encode() for row in range(min(4, ROWS - 4 * index))]
        assert numbers.dtype == np.float32
        assert numbers.shape[1] == index + 1
        assert labels.tolist() == list(range(len(texts)))


def test_a_tensorflow_data_set_may_be_ragged_and_goes_on_from_a_step():
    ragged = tf.ragged.constant([[number] * (number % 3) for number in range(12)])
    make = lambda: tf.data.Dataset.from_tensor_slices((ragged, tf.range(12))).batch(4)  # noqa: E731

    [[features, labels]] = served(given(make), 1, 2, first_step=4, steps=1)  # the second pass's second batch

    assert [list(row) for row in features] == [[], [7]]
    assert labels.tolist() == [6, 7]
    assert given(make).first_examples(2).features.to_list() == [[], [1]]


def of_tensors(*tensors: Any) -> Callable[[], tf.data.Dataset]:
    return lambda: tf.data.Dataset.from_tensors(tensors if len(tensors) > 1 else tensors[0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tf.data.Dataset.range(4), "expected a tf.data.Dataset of (features, labels)"),
        (lambda: tf.data.Dataset.from_tensor_slices(([[1.0]], [1])), "of global batches, found single examples"),
        (
            lambda: tf.data.Dataset.from_tensor_slices(([[1.0, 2.0]], [[1]])),
            "as many features as labels, found one of 1, 2",
        ),
        (of_tensors(tf.sparse.eye(2), [1, 2]), "expected dense or ragged tensors"),
        (lambda: of_tensors([1.0], [1])().take(0), "has no batches"),
        (lambda: of_tensors([1.0], [1])().repeat(), "has no end, or its length is not known"),
        (lambda: Words(use_multiprocessing=True), "use_multiprocessing=True would be pickled"),
        (lambda: Words(lambda index, batch: {"x": batch[0]}), "found dict"),
        (lambda: Words(lambda index, batch: (batch[0], 3)), "an axis of examples, found the single value"),
        (lambda: Words(lambda index, batch: batch if index < 2 else (batch[0], batch[1] / 2)), "one type and rank"),
        (lambda: iter([1]), "found a list_iterator, whose next batch"),
        (lambda: 7, "expected a function that returns a keras.utils.PyDataset or a tf.data.Dataset, it returned int"),
    ],
)
def test_another_form_is_refused_by_name(make, said):
    with pytest.raises(DataError) as refused:
        given(make).require_enough(num_workers=1)

    assert str(refused.value).startswith("train: ")
    assert said in str(refused.value)


def test_a_batch_of_another_form_in_between_is_named_by_its_index():
    source = given(lambda: Words(lambda index, batch: batch if index != 1 else (batch[0], batch[1][:, None])))

    with pytest.raises(DataError, match=r"expected batches of one form, .*; batch 1 is string\(4,\), float32\(4, 2\)"):
        served(source, 0, 1)


def test_an_error_of_the_function_is_named_by_its_place():
    code = OwnCode({"own_data.py": "def make():\n    raise OSError('no such file')\n"})

    def make() -> Any:
        with code.importable():
            return code.function("own_data.py", "make")()

    with pytest.raises(ParamsError, match=r"own_data.py:2: OSError: no such file"):
        given(make, code=code).require_enough(num_workers=1)
