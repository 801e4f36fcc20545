import pytest

from components.errors import ParamsError
from components.examples.settings import ImageFeature, NumberFeature
from components.sources.part import only_image

IMAGE = ImageFeature(height=8, width=8)


def test_the_one_image_is_found() -> None:
    assert only_image({"photo": IMAGE}, kind="idx") == ("photo", IMAGE)


@pytest.mark.parametrize(
    "features", [{"x": NumberFeature()}, {"a": IMAGE, "b": IMAGE}, {"a": IMAGE, "x": NumberFeature()}]
)
def test_other_features_are_an_error(features) -> None:
    with pytest.raises(ParamsError, match="'idx' gives exactly one image, found"):
        only_image(features, kind="idx")
