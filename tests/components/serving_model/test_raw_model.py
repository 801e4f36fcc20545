"""A core behind the layers of its transforms, saved and loaded."""

import keras
import numpy as np

from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.serving_model.raw_model import raw_model
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.scale_pixels import FittedScalePixels

LABEL = CategoryLabel(name="answer", classes=("no", "yes"))


def test_the_core_keeps_its_weights_and_an_image_its_shape(tmp_path):
    of = FittedFeature(
        feature=ImageFeature(height=4, width=4), transforms=(FittedScalePixels(maximum=255),), shape=(4, 4, 1)
    )
    fitted = FittedTable(features={"image": of}, label=LABEL, training_examples=1)
    core = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    model = raw_model(core, fitted)
    assert [id(weight) for weight in model.weights] == [id(weight) for weight in core.weights]
    image = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1)).astype(np.float32)
    expected = core.predict(image / 255, verbose=0)
    model.save(tmp_path / "model.keras")
    served = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(served.predict({"image": image}, verbose=0), expected, rtol=1e-5)
