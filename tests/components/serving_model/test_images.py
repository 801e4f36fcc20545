"""Image files as example rows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.serving_model.images import read_images


def _read(file: Path, feature: ImageFeature) -> tuple[list[int], list[str]]:
    warnings: list[str] = []
    return read_images([file], name="image", feature=feature, warn=warnings.append).to_list()[0], warnings


def test_pixels_are_scaled_to_the_features_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255], [128, 64]], np.uint8)).save(tmp_path / "a.png")

    assert _read(tmp_path / "a.png", ImageFeature(height=2, width=2, maximum=16)) == ([0, 16, 8, 4], [])


@pytest.mark.parametrize(
    ("mode", "color", "channels", "expected"),
    [
        ("RGB", (255, 255, 255), 1, [255]),  # colour becomes grey
        ("L", 7, 3, [7, 7, 7]),  # grey becomes colour
        ("P", 1, 3, [0, 0, 0]),  # a palette
        ("1", 1, 1, [255]),  # one bit
        ("RGB", (1, 2, 3), 4, [1, 2, 3, 255]),  # opaque
    ],
)
def test_channels_become_what_the_feature_asks(
    tmp_path: Path, mode: str, color: int | tuple[int, ...], channels: int, expected: list[int]
) -> None:
    image = Image.new(mode, (1, 1), color)
    if mode == "P":
        image.putpalette([0] * 768)
    image.save(tmp_path / "a.png")

    feature = ImageFeature.model_validate({"height": 1, "width": 1, "channels": channels})
    assert _read(tmp_path / "a.png", feature)[0] == expected


def test_another_size_is_resized_with_a_warning(tmp_path: Path) -> None:
    Image.new("L", (9, 4), 100).save(tmp_path / "a.jpg")

    pixels, warnings = _read(tmp_path / "a.jpg", ImageFeature(height=2, width=3))

    assert pixels == [100] * 6
    assert warnings == ["1 of 1 images resized to 3 x 2 pixels, for example 'a.jpg'"]


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")

    with pytest.raises(DataError, match=r"can't read .*a\.png as an image"):
        _read(tmp_path / "a.png", ImageFeature(height=1, width=1))
