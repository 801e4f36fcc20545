"""Fitted transforms as the first and last layers of a Keras model, so that a saved model takes raw values."""

from typing import Any

import keras

from headrace.components.examples.settings import (
    CategoryFeature,
    Feature,
    GeneratedLabel,
    ImageFeature,
    NumberFeature,
    TextFeature,
)
from headrace.components.transforms.fitted_transforms import FittedFeature, FittedTable
from headrace.components.transforms.transform import InvertibleTransform, ModelColumn


def raw_model(core: keras.Model, fitted: FittedTable, *, backbone_weights: bytes | None = None) -> keras.Model:
    """`core` with the transforms in front and the inverse label transform behind; both share core's weights.

    Takes a dict by feature name: image float32[batch, height, width, channel], number float32[batch, 1] with NaN for
    missing, category string[batch, 1] with "" for missing, text string[batch, 1]. Gives what core gives, number labels
    in their own units. With a backbone, `backbone_weights` is the content of its file. A generator takes {"noise":
    float32[batch, noise]} and gives pixels float32[batch, height, width, channel], from 0 to the image's maximum.
    """
    if isinstance(fitted.label, GeneratedLabel):
        return _raw_generator(core, fitted.features[fitted.label.name])
    inputs = {name: _input(name, of.feature) for name, of in fitted.features.items()}
    transformed = [_transform(inputs[name], of, backbone_weights or b"") for name, of in fitted.features.items()]
    values = transformed[0] if len(transformed) == 1 else keras.layers.Concatenate()(transformed)
    outputs = core(values)
    if fitted.label_transform is not None:
        outputs = fitted.label_transform.inverse(outputs)
    if fitted.label_transforms:
        scales, shifts = zip(*((one.scale, one.shift) for one in fitted.label_transforms), strict=True)
        outputs = keras.layers.Rescaling(list(scales), list(shifts))(outputs)
    return keras.Model(inputs, outputs)


def _raw_generator(core: keras.Model, image: FittedFeature) -> keras.Model:
    noise = keras.Input(core.input_shape[1:], name="noise")
    pixels = core(noise)
    for transform in reversed(image.transforms):
        if not isinstance(transform, InvertibleTransform):
            raise TypeError(f"no image can be generated before {transform.kind}")
        pixels = transform.inverse(pixels)
    return keras.Model({"noise": noise}, pixels)


def _input(name: str, feature: Feature) -> Any:
    match feature:
        case ImageFeature():
            return keras.Input(feature.shape, name=name)
        case NumberFeature():
            return keras.Input((1,), name=name)
        case CategoryFeature() | TextFeature():
            return keras.Input((1,), name=name, dtype="string")


def _transform(values: Any, fitted: FittedFeature, backbone_weights: bytes) -> Any:
    """float32[batch, *fitted.shape]; an indicator, which no other transform touches, comes last."""
    column = ModelColumn(fitted.feature, values, backbone_weights=backbone_weights)
    for transform in fitted.transforms:
        column = transform.keras_form(column)
    indicators = [one for transform in fitted.transforms for one in transform.keras_indicators(column)]
    return keras.layers.Concatenate()([column.values, *indicators]) if indicators else column.values
