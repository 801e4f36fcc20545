"""Images from 0 to 1."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.components.errors import ParamsError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.transforms.scale_pixels import FittedScalePixels

SCALE_PIXELS = [{"kind": "scale_pixels"}]


def test_it_needs_no_statistics(fit_one):
    images = pl.Series([[0, 16], [8, 4]], dtype=pl.Array(pl.UInt8, 2))
    fitted = fit_one(images, SCALE_PIXELS, ImageFeature(height=1, width=2, maximum=16))
    assert fitted.transforms[0].maximum == 16
    assert fitted.shape == (1, 2, 1)


def test_it_keeps_images_flat(applied):
    image = ImageFeature(height=1, width=2, maximum=16)
    x = applied([[0, 16], [8, 4]], image, FittedScalePixels(maximum=16), width=2, dtype=pl.Array(pl.UInt8, 2))
    assert x.dtype == pl.Array(pl.Float32, 2)
    assert x.to_list() == [[0, 1], [0.5, 0.25]]


def test_it_is_undone_for_images_that_are_generated():
    assert FittedScalePixels(maximum=16).inverse(0.25) == 4


def test_it_is_for_images_and_the_last(check_one):
    image = {"type": "image", "height": 2, "width": 2}
    check_one({**image, "encoding": "encoded"}, SCALE_PIXELS)
    with pytest.raises(ParamsError, match="scale_pixels can't be applied to scaled pixels; it must be the last"):
        check_one(image, SCALE_PIXELS * 2)


@settings(deadline=None, max_examples=6)
@given(pixels=hnp.arrays(np.uint8, (5, 3 * 2 * 3), elements=st.integers(0, 16)))
def test_both_forms_agree(pixels, assert_forms_agree):
    table = pl.DataFrame({"image": pixels})
    features = {"image": ImageFeature(height=3, width=2, channels=3, maximum=16)}
    assert_forms_agree(table, table, features, {"image": SCALE_PIXELS})
