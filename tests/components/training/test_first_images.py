import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.training.first_images import first_pictures
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.scale_pixels import FittedScalePixels

PIXELS = np.random.default_rng(1).integers(0, 256, (20, 4, 6, 3)).astype(np.uint8)


def table(**features):
    label = CategoryLabel(name="kind", classes=("a", "b"))
    return FittedTable(features=features, label=label, training_examples=20)


def as_png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("encoding", ["tensor", "encoded"])
def test_the_first_images_come_back_from_darkest_to_brightest(tmp_path, encoding):
    feature = ImageFeature(height=4, width=6, channels=3, encoding=encoding)
    transforms = (FittedScalePixels(maximum=255),)
    flat = (PIXELS / 255).astype(np.float32).reshape(20, -1)
    column = pl.Series(flat) if encoding == "tensor" else pl.Series([as_png(one) for one in PIXELS])
    pl.DataFrame({"image": column}).write_parquet(tmp_path / "part-00000.parquet")
    fitted = table(image=FittedFeature(feature=feature, transforms=transforms, shape=feature.shape))
    shown = first_pictures(tmp_path, fitted=fitted, count=5)["image"]
    first = PIXELS[:5].astype(np.float32)
    np.testing.assert_allclose(shown, (first - first.min()) / (first.max() - first.min()), atol=1e-6)


def test_rows_of_numbers_have_no_pictures(tmp_path):
    assert (
        first_pictures(tmp_path, fitted=table(a=FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))))
        == {}
    )
