import pytest

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.bundled import read_digits


def test_all_digits_are_there() -> None:
    table = read_digits(image="image", label="digit", feature=ImageFeature(height=8, width=8, maximum=16))
    assert table.height == 1797
    assert table["digit"].value_counts().height == 10
    assert table["image"].arr.max().max() == 16


def test_another_shape_is_an_error() -> None:
    with pytest.raises(DataError, match=r"declared as \(28, 28, 1\), but the digits are \(8, 8, 1\)"):
        read_digits(image="image", label="digit", feature=ImageFeature(height=28, width=28))
