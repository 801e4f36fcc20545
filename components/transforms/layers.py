"""Fitted transforms as the first and last layers of a Keras model, so that a saved model takes raw values."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from headrace.components.examples.settings import (
    CategoryFeature,
    Feature,
    GeneratedLabel,
    ImageFeature,
    NumberFeature,
    TextFeature,
)
from headrace.components.models.backbones import backbone_model
from headrace.components.transforms.fitted_transforms import (
    FittedFeature,
    FittedImpute,
    FittedMinMax,
    FittedOneHot,
    FittedOrdinal,
    FittedPolynomial,
    FittedScalePixels,
    FittedStandardize,
    FittedTable,
    FittedVocabulary,
)
from headrace.components.transforms.polynomial import chebyshev

# Stock layers and operations only: a model with custom objects would not load where Headrace is not installed.


def raw_model(core: keras.Model, fitted: FittedTable, *, backbone_weights: bytes | None = None) -> keras.Model:
    """Return `core` with the transforms in front and the inverse label transform behind; both share core's weights.

    Takes a dict by feature name: image float32[batch, height, width, channel], number float32[batch, 1] with NaN for
    missing, category string[batch, 1] with "" for missing, text string[batch, 1]. Gives what core gives, number labels
    in their own units. With a backbone, `backbone_weights` is the content of its file. A generator takes {"noise":
    float32[batch, noise]} and gives pixels float32[batch, height, width, channel], from 0 to the image's maximum.
    """
    if isinstance(fitted.label, GeneratedLabel):
        return _raw_generator(core, fitted.features[fitted.label.name])
    inputs = {name: _input(name, of.feature) for name, of in fitted.features.items()}
    transformed = [_transform(inputs[name], of, backbone_weights) for name, of in fitted.features.items()]
    values = transformed[0] if len(transformed) == 1 else keras.layers.Concatenate()(transformed)
    outputs = core(values)
    if fitted.label_transform is not None:
        outputs = outputs * fitted.label_transform.scale + fitted.label_transform.shift
    if fitted.label_transforms:
        scales, shifts = zip(*((one.scale, one.shift) for one in fitted.label_transforms), strict=True)
        outputs = keras.layers.Rescaling(list(scales), list(shifts))(outputs)
    return keras.Model(inputs, outputs)


def _raw_generator(core: keras.Model, image: FittedFeature) -> keras.Model:
    noise = keras.Input(core.input_shape[1:], name="noise")
    [maximum] = [one.maximum for one in image.transforms if isinstance(one, FittedScalePixels)]
    return keras.Model({"noise": noise}, core(noise) * float(maximum))


def _input(name: str, feature: Feature) -> Any:
    match feature:
        case ImageFeature():
            return keras.Input(feature.shape, name=name)
        case NumberFeature():
            return keras.Input((1,), name=name)
        case CategoryFeature() | TextFeature():
            return keras.Input((1,), name=name, dtype="string")


def _transform(values: Any, fitted: FittedFeature, backbone_weights: bytes | None) -> Any:
    """float32[batch, *fitted.shape]; the indicator, which no other transform touches, comes last."""
    transforms = fitted.transforms
    if fitted.backbone and isinstance(fitted.feature, ImageFeature):
        return backbone_model(fitted.backbone, fitted.feature, weights=backbone_weights or b"")(values)
    if isinstance(fitted.feature, TextFeature):
        [vocabulary] = [one.tokens for one in transforms if isinstance(one, FittedVocabulary)]
        return _token_ids(values, fitted.feature, vocabulary)
    impute = next((one for one in transforms if isinstance(one, FittedImpute)), None)
    if isinstance(fitted.feature, CategoryFeature):
        categories = next(one.categories for one in transforms if isinstance(one, FittedOrdinal | FittedOneHot))
        values, missing = _ranks(values, categories, impute)
    else:
        missing = ops.isnan(values) if impute else None
        values = ops.where(missing, impute.value, values) if impute else values
    for transform in transforms:
        match transform:
            case FittedStandardize() | FittedMinMax():
                values = (values - transform.shift) / transform.scale if transform.scale else values * 0.0
            case FittedScalePixels():
                values = values / float(transform.maximum)
            case FittedOneHot():
                values = _one_hot(values, width=len(transform.categories) + 1)
            case FittedPolynomial(degree=degree):
                terms = list(chebyshev(values, degree=degree))
                values = terms[0] if degree == 1 else keras.layers.Concatenate()(terms)
            case FittedOrdinal() | FittedImpute():
                pass  # done above
    if impute and impute.indicator:
        values = keras.layers.Concatenate()([values, ops.cast(missing, "float32")])
    return values


def _token_ids(texts: Any, feature: TextFeature, vocabulary: Sequence[str]) -> Any:
    """float32[batch, length], 0 after a text's end."""
    look_up = keras.layers.TextVectorization(
        standardize=None,
        split="character" if feature.unit == "character" else "whitespace",
        output_sequence_length=feature.length,
        vocabulary=list(vocabulary),
    )
    return ops.cast(look_up(texts), "float32")


def _ranks(texts: Any, categories: tuple[str, ...], impute: FittedImpute | None) -> tuple[Any, Any]:
    """float32[batch, 1] ranks from 1 with 0 for any other text, and bool[batch, 1] where the text was missing.

    Operations don't take strings, so "" is looked up like a category, as the last one, and replaced by its rank.
    """
    lookup = keras.layers.StringLookup(vocabulary=[*categories, ""], oov_token="\0")  # noqa: S106
    ranks = ops.cast(lookup(texts), "float32")
    missing = ops.equal(ranks, float(len(categories) + 1))
    replacement = categories.index(str(impute.value)) + 1 if impute and impute.value in categories else 0
    return ops.where(missing, float(replacement), ranks), missing


def _one_hot(ranks: Any, *, width: int) -> Any:
    return ops.cast(ops.equal(ranks, ops.reshape(ops.arange(width, dtype="float32"), (1, width))), "float32")
