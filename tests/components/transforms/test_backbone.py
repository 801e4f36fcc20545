"""Frozen networks: what they are given, what comes out of a saved one, and which weights they refuse."""

import keras
import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.split_settings import Split
from headrace.components.serving_model.raw_model import raw_model
from headrace.components.transforms.apply import apply
from headrace.components.transforms.backbone import Backbone
from headrace.components.transforms.backbone_features import with_features
from headrace.components.transforms.backbone_network import backbone_model, scaling
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

IMAGE = ImageFeature(height=32, width=32, channels=3)
LABEL = CategoryLabel(name="flower", classes=("daisy", "tulip"))
SMALL = {
    "name": "mobilenet",
    "alpha": 0.25,
    "weights": {"name": "small.weights.h5", "url": "/weights/small.weights.h5"},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    """Those of a small network, drawn at random: enough to see that the right ones are in the right place."""
    keras.utils.set_random_seed(1)
    file = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    network = keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, include_top=False, weights=None)
    for layer in network.layers:  # else there is next to nothing left at the end of so many layers
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(keras.ops.full_like(layer.moving_variance, 0.05))
    network.save_weights(file)
    return file.read_bytes()


def photos(rows):
    return np.random.default_rng(1).integers(0, 256, (rows, IMAGE.size), dtype=np.uint8)


def fitted_backbone(settings, weights):
    return Backbone.model_validate(settings).fit(ColumnStatistics("photo", IMAGE, backbone_weights=weights))


def table_of(settings, weights):
    known = fitted_backbone(settings, weights)
    of = FittedFeature(feature=IMAGE, transforms=(known,), shape=(known.width,))
    return FittedTable(features={"photo": of}, label=LABEL, training_examples=1)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"name": "inception_v3"}, "alpha is the width of a mobilenet; inception_v3 has none"),
        ({"augmented_copies": 2}, "augmented_copies and augment belong together"),
        ({"weights": {"name": "small.bin", "url": "/weights/small.bin"}}, r"must end in \.h5"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(changed, expected):
    with pytest.raises(ValidationError, match=expected):
        Backbone.model_validate({**SMALL, **changed})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"channels": 1}, "takes images of 3 channels, found 1; set channels: 3"),
        ({"height": 31}, "mobilenet takes images of at least 32 x 32 pixels, found 31 x 32"),
    ],
)
def test_images_that_the_network_can_t_take_are_refused(changed, expected, check_one):
    backbone, image = {"kind": "backbone", **SMALL}, IMAGE.model_dump()
    check_one({**image, "encoding": "encoded"}, [backbone])
    with pytest.raises(ParamsError, match=expected):
        check_one({**image, **changed}, [backbone])
    with pytest.raises(ParamsError, match="a backbone's features; it must be the last transform"):
        check_one(image, [backbone, backbone])


@pytest.mark.parametrize(
    ("chosen", "width"),
    [
        ({"layers": ["conv_pw_12_relu", "conv_pw_13_relu"], "pooling": ["average", "max"], "mirrored": True}, 1024),
        ({"pooling": ["flatten"]}, 256),
    ],
)
def test_both_forms_agree_and_the_saved_one_needs_nothing_else(tmp_path, weights, chosen, width):
    fitted = table_of({**SMALL, **chosen}, weights)
    assert fitted.backbone.width == width
    pixels = photos(35)  # more than one batch of the network
    ids = np.arange(35, dtype=np.uint64)
    examples = pl.DataFrame({"example_id": ids, "photo": pixels, "flower": ["daisy"] * 35})
    table = apply(
        with_features(examples, fitted, split=Split(held_out="none"), weights=weights).lazy(), fitted, label=pl.lit(0)
    ).collect()
    assert table["photo"].dtype == pl.Array(pl.Float32, width)
    assert table["photo"].to_numpy().std() > 0.1
    inputs = keras.Input((width,))
    model = raw_model(keras.Model(inputs, inputs * 1.0), fitted, backbone_weights=weights)
    assert model.trainable_variables == []
    model.save(tmp_path / "model.keras")
    served = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    raw = {"photo": pixels.reshape(-1, *IMAGE.shape).astype(np.float32)}
    np.testing.assert_allclose(np.asarray(served(raw)), table["photo"].to_numpy(), rtol=1e-4, atol=1e-5)


def test_a_mirror_image_has_the_same_features_where_they_are_requested(weights):
    pixels = photos(2).reshape(-1, *IMAGE.shape).astype(np.float32)
    for mirrored in (True, False):
        backbone = table_of({**SMALL, "mirrored": mirrored}, weights).backbone
        model = backbone_model(backbone, IMAGE, weights=weights)
        same = np.allclose(model(pixels), model(pixels[:, :, ::-1]), rtol=1e-4, atol=1e-4)
        assert same == mirrored


@pytest.mark.parametrize("name", ["inception_v3", "mobilenet", "mobilenet_v2", "mobilenet_v3_large", "nasnet_mobile"])
def test_pixels_are_scaled_as_keras_scales_them_for_the_network(name):
    module = {"mobilenet_v3_large": "mobilenet_v3", "nasnet_mobile": "nasnet"}.get(name, name)
    pixels = photos(1).astype(np.float32)
    expected = getattr(keras.applications, module).preprocess_input(pixels.copy())
    scale, offset = scaling(name, maximum=255)
    np.testing.assert_allclose(pixels * scale + offset, expected, atol=1e-6)
    scale, offset = scaling(name, maximum=51)
    np.testing.assert_allclose(pixels / 5 * scale + offset, expected, atol=1e-4)


def test_efficientnets_pixels_are_divided_by_the_deviation():
    # The published weights have the deviation where the layer expects the variance.
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    network = keras.applications.EfficientNetB0(input_shape=IMAGE.shape, include_top=False, weights=None)
    layer = next(one for one in network.layers if isinstance(one, keras.layers.Normalization))
    layer.adapt_mean.assign(mean), layer.adapt_variance.assign(deviation)
    layer.finalize_state()
    pixels = photos(1).reshape(-1, *IMAGE.shape).astype(np.float32)
    scale, offset = scaling("efficientnet_b0")
    given = keras.Model(network.input, layer.output)(pixels * np.float32(scale) + np.float32(offset))
    np.testing.assert_allclose(np.asarray(given), (pixels / 255 - mean) / deviation, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"alpha": 0.5}, "not the weights of mobilenet"),
        ({"name": "mobilenet_v2", "alpha": 1.0}, "not the weights of mobilenet_v2"),
        ({"layers": ["conv_pw_14_relu"]}, "no layer 'conv_pw_14_relu'; its last ones are: .*conv_pw_13_relu"),
    ],
)
def test_weights_and_layers_of_another_network_are_refused(weights, changed, expected):
    with pytest.raises(DataError, match=expected):
        fitted_backbone({**SMALL, **changed}, weights)


def test_what_is_no_file_of_weights_is_refused():
    with pytest.raises(DataError, match="not the weights of mobilenet"):
        fitted_backbone(SMALL, b"<html>404</html>")


def test_weights_that_are_missing_or_changed_are_refused(tmp_path, weights):
    backbone = table_of(SMALL, weights).backbone
    with pytest.raises(DataError, match="headrace normalize"):
        backbone.read_weights(tmp_path)
    (tmp_path / backbone.weights_file).write_bytes(weights)
    assert backbone.read_weights(tmp_path) == weights
    (tmp_path / backbone.weights_file).write_bytes(weights[:-1])
    with pytest.raises(DataError, match="expected SHA-256"):
        backbone.read_weights(tmp_path)
