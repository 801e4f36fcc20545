"""A training's weights in models that run anywhere."""

from pathlib import Path

import keras

from headrace.components.errors import DataError
from headrace.components.models.build import build
from headrace.components.models.settings import Model
from headrace.components.tasks.variants import task_of
from headrace.components.training.checkpoints import Arrays
from headrace.components.training.feeding.split_arrays import core_shape
from headrace.components.transforms.fitted_table import FittedTable


def restored_model(
    weights: Arrays, *, model: Model, fitted: FittedTable, statistics: Path
) -> tuple[keras.Model, keras.Model]:
    """Return the model that takes raw rows, with these weights in it, and its core, which gives logits.

    `statistics` is the file that `fitted` is from: the weights of a backbone lie beside it. Raises DataError where the
    weights are those of another model, or of another backbone.
    """
    task, tokens = task_of(fitted.label), fitted.tokens
    core = build(model, input_shape=core_shape(fitted), output=task.output(tokens), tokens=tokens)
    own = weights[: len(core.weights)]  # after them come those of heads that only training has
    expected, found = [tuple(weight.shape) for weight in core.weights], [array.shape for array in own]
    if found != expected:
        raise DataError(
            f"expected the weights of train.model, of shapes {expected}, found {found}; "
            "give params.yaml the model, and the transforms, that they were trained with"
        )
    core.set_weights(own)
    backbone_weights = fitted.backbone.read_weights(statistics.parent) if fitted.backbone else None
    return task.saved_model(core, fitted, backbone_weights=backbone_weights), core
