"""A model that was tested on other data, tested on these."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.evaluation.judge import Judge, judged_metrics, judgement
from headrace.components.evaluation.metrics import category_metrics, number_metrics, numbers_metrics, token_metrics
from headrace.components.examples.settings import (
    CategoryLabel,
    Feature,
    GeneratedLabel,
    ImageFeature,
    Label,
    NextTokenLabel,
    NumbersLabel,
    label_width,
)
from headrace.components.models.generate_images import require_generator
from headrace.components.models.next_tokens import predict_tokens, text_model
from headrace.components.models.saved_model import load_model, predict


def reevaluate_on_current_split(
    model_file: Path,
    examples: pl.DataFrame,
    *,
    features: Mapping[str, Feature],
    label: Label,
    judge: Judge | None = None,
) -> dict[str, float]:
    """Return the metrics of a saved model on raw rows; it may take fewer of `features` than the present one.

    A generator's images are shown to the judge, who is measured on the rows. Raises DataError if the model can't be
    loaded, takes what the rows do not have, or predicts something else.
    """
    model: Any = load_model(model_file)
    if isinstance(label, GeneratedLabel) and judge is not None:
        _check_images(model, features[label.name])
        return judged_metrics(judgement(model, judge), judge, examples)
    _check(model, features=features, label=label)
    if isinstance(label, NextTokenLabel):
        found = predict_tokens(text_model(model), examples[label.name])
        return token_metrics(found.targets, found.predicted, found.losses)
    outputs = predict(model, examples, features={name: features[name] for name in model.input})
    if isinstance(label, CategoryLabel):
        indices = {name: index for index, name in enumerate(label.classes)}
        labels = examples[label.name].replace_strict(indices, return_dtype=pl.Int64).to_numpy()
        return category_metrics(labels, outputs)
    if isinstance(label, NumbersLabel):
        return numbers_metrics(examples.select(list(label.targets)).to_numpy(), outputs.astype(np.float64), label=label)
    return number_metrics(examples[label.name].to_numpy(), outputs[:, 0].astype(np.float64))


def _check_images(model: Any, image: Feature) -> None:
    require_generator(model)
    if isinstance(image, ImageFeature) and tuple(model.output.shape[1:]) != image.shape:
        raise DataError(f"it makes images of shape {tuple(model.output.shape[1:])}, and those here have {image.shape}")


def _check(model: Any, *, features: Mapping[str, Feature], label: Label) -> None:
    for name, tensor in model.input.items():
        feature = features.get(name)
        shape = feature.shape if isinstance(feature, ImageFeature) else (1,)
        is_text = feature is not None and feature.type in ("category", "text")
        if feature is None or tuple(tensor.shape[1:]) != shape or (tensor.dtype == "string") != is_text:
            raise DataError(f"it takes a feature {name!r} of shape {tuple(tensor.shape[1:])} and type {tensor.dtype}")
    if isinstance(label, NextTokenLabel):
        return
    width = label_width(label)
    if model.output.shape[-1] != width:
        raise DataError(f"it gives {model.output.shape[-1]} numbers a row, and the label {label.name!r} needs {width}")
