"""Fitted transforms as the first and last layers of a Keras model, so that a saved model takes raw values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.transform import InvertibleTransform, ModelColumn


def raw_model(
    core: Callable[[Any], Any],
    fitted: FittedTable,
    *,
    inputs: Mapping[str, Sequence[str]] | None = None,
    in_label_unit: Callable[[Any], Any] = lambda outputs: outputs,
    backbone_weights: bytes | None = None,
) -> keras.Model:
    """`core` with the transforms in front and, behind it, the inverse of the label's transform; both share weights.

    Takes a dict by feature name: image float32[batch, height, width, channel], number float32[batch, 1] with NaN for
    missing, category string[batch, 1] with "" for missing, text string[batch, 1]. Gives core's outputs, which
    `in_label_unit` gives in the label's own unit. `core` takes all transformed features side by side or, with `inputs`,
    a dict of those that each input is made of. With a backbone, `backbone_weights` is the content of its file.
    """
    raw = {
        name: keras.Input(of.feature.input_shape, name=name, dtype=of.feature.input_dtype)
        for name, of in fitted.features.items()
    }
    transformed = {name: _transform(raw[name], of, backbone_weights or b"") for name, of in fitted.features.items()}
    if inputs is None:
        values = _joined(list(transformed.values()))
    else:
        values = {name: _joined([transformed[one] for one in features]) for name, features in inputs.items()}
    return keras.Model(raw, in_label_unit(core(values)))


def _joined(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else keras.layers.Concatenate()(values)


def raw_generator(core: keras.Model, image: FittedFeature) -> keras.Model:
    """A generator of pixels float32[batch, height, width, channel], from 0 to the image's maximum, that shares weights.

    It takes {"noise": float32[batch, noise]}.
    """
    noise = keras.Input(core.input_shape[1:], name="noise")
    pixels = core(noise)
    for transform in reversed(image.transforms):
        if not isinstance(transform, InvertibleTransform):
            raise TypeError(f"no image can be generated before {transform.kind}")
        pixels = transform.inverse(pixels)
    return keras.Model({"noise": noise}, pixels)


def _transform(values: Any, fitted: FittedFeature, backbone_weights: bytes) -> Any:
    """float32[batch, *fitted.shape]; an indicator, which no other transform touches, comes last."""
    column = ModelColumn(fitted.feature, values, backbone_weights=backbone_weights)
    for transform in fitted.transforms:
        column = transform.keras_form(column)
    indicators = [one for transform in fitted.transforms for one in transform.keras_indicators(column)]
    return keras.layers.Concatenate()([column.values, *indicators]) if indicators else column.values
