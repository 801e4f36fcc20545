"""A training's weights in models that run anywhere."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras

from headrace.components.errors import DataError
from headrace.components.models.build import build
from headrace.components.models.named_inputs import groups_of, input_groups
from headrace.components.models.own_model import build_own_model, model_label, taken_by
from headrace.components.models.settings import AnyModel, OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.tasks.task import Task
from headrace.components.tasks.variants import task_of
from headrace.components.training.checkpoints import Arrays
from headrace.components.training.feeding.split_arrays import core_shape
from headrace.components.transforms.fitted_table import FittedTable


def restored_model(
    weights: Arrays | None,
    *,
    model: AnyModel,
    fitted: FittedTable,
    statistics: Path,
    code: OwnCode | None = None,
    pretrained: Path | None = None,
    calibrate: Callable[[keras.Model], keras.Model] = lambda core: core,
) -> tuple[keras.Model, keras.Model]:
    """Return the model that takes raw rows, with these weights in it, and its core, which gives logits.

    Without `weights` it has random ones. `statistics` is the file that `fitted` is from: the weights of a backbone lie
    beside it. `calibrate` changes the logits of the first model alone. A model of a file needs its `code`, importable,
    and `pretrained`, what its `weights` name. Raises DataError where the weights are those of another model, or of
    another backbone.
    """
    task, tokens = task_of(fitted.label), fitted.tokens
    inputs: Mapping[str, Sequence[str]] | None = None
    if isinstance(model, OwnModel):
        core, inputs = _own_core(model, code or OwnCode({}), fitted, task, pretrained)
    else:
        groups, output = groups_of(model, fitted), task.output(tokens)
        if groups is None:
            core = build(model, input_shape=core_shape(fitted), output=output, tokens=tokens)
        else:
            core = build(model, output=output, groups=groups)
            inputs = {name: group.features for name, group in groups.items()}
    if weights is not None:
        _set_weights(core, weights)
    backbone_weights = fitted.backbone.read_weights(statistics.parent) if fitted.backbone else None
    return task.saved_model(calibrate(core), fitted, inputs=inputs, backbone_weights=backbone_weights), core


def _set_weights(core: keras.Model, weights: Arrays) -> None:
    own = weights[: len(core.weights)]  # after them come those of heads that only training has
    expected, found = [tuple(weight.shape) for weight in core.weights], [array.shape for array in own]
    if found != expected:
        raise DataError(
            f"expected the weights of train.model, of shapes {expected}, found {found}; "
            "give params.yaml the model, and the transforms, that they were trained with"
        )
    core.set_weights(own)


def _own_core(
    settings: OwnModel, code: OwnCode, fitted: FittedTable, task: Task, pretrained: Path | None
) -> tuple[keras.Model, dict[str, tuple[str, ...]]]:
    """A model of a file behind a dict of its inputs by name, and the features of each."""
    groups = input_groups(fitted, settings.inputs)
    shapes = {name: group.shape for name, group in groups.items()}
    label = model_label(fitted.label, task.output(fitted.tokens), task.classes)
    model = build_own_model(settings, code, inputs=shapes, label=label, pretrained=pretrained)
    tensors = {name: keras.Input(shape, dtype="float32", name=name) for name, shape in shapes.items()}
    core = keras.Model(tensors, model(taken_by(model, shapes)(tensors)), name="core")
    return core, {name: group.features for name, group in groups.items()}
