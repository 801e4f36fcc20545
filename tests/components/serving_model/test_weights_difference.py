"""How far two models' files are apart, whatever else they hold."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from headrace.components.errors import DataError
from headrace.components.serving_model.weights_difference import largest_difference


def write(file: Path, **arrays: np.ndarray) -> Path:
    content = io.BytesIO()
    with h5py.File(content, "w") as weights:
        for name, array in arrays.items():
            weights[f"layers/{name}/vars/0"] = array
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", json.dumps({"keras_version": "3"}))
        archive.writestr("model.weights.h5", content.getvalue())
    return file


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (ONES, 0.0),
        (ONES + np.float32(2**-20), 2**-20),
        (ONES * np.float32("nan"), float("inf")),
        (np.ones((3, 2), np.float32), None),  # of another shape
        (ONES.astype(np.float64), None),  # of another type
    ],
)
def test_the_largest_difference_of_two_weights(tmp_path, other, expected):
    one, two = write(tmp_path / "one.keras", dense=ONES), write(tmp_path / "two.keras", dense=other)
    assert largest_difference(one, two) == expected


def test_equal_bits_are_equal_also_where_they_are_no_number(tmp_path):
    nothing = ONES * np.float32("nan")
    one, two = write(tmp_path / "one.keras", dense=nothing), write(tmp_path / "two.keras", dense=nothing)
    assert largest_difference(one, two) == 0.0


def test_other_layers_have_no_difference(tmp_path):
    one, two = write(tmp_path / "one.keras", dense=ONES), write(tmp_path / "two.keras", conv=ONES)
    assert largest_difference(one, two) is None


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "two.keras").write_text("not a model")
    with pytest.raises(DataError, match=r"two\.keras"):
        largest_difference(write(tmp_path / "one.keras", dense=ONES), tmp_path / "two.keras")
