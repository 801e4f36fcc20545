"""Initial weights: those of an earlier training."""

from pathlib import Path
from typing import Any

import keras

from headrace.components.errors import TrainingError
from headrace.components.models.gan import AdversarialNetworks
from headrace.components.models.heads import WithAuxiliaryHeads
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.serving_model.saved_model import load_model
from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Arrays


def read_start_weights(path: Path, code: OwnCode | None = None) -> Arrays:
    """Return the best weights of a checkpoint (a folder), or those of a saved model (a .keras file).

    A saved model may hold the code that is being trained, `code`, and no other. The weights are in the order of Keras's
    `model.weights`. Raises DataError where there is no whole checkpoint or model at `path`.
    """
    if path.is_dir():
        try:
            return checkpoints.load(path).best_weights
        except ValueError as error:
            raise TrainingError(f"train.start_from: {error}") from error
    known = code.sources if code else {}
    model: Any = load_model(path, may_run=lambda sources: sources.items() <= known.items())
    # What was trained is a layer of the model that takes raw rows.
    [core] = [layer for layer in model.layers if layer.name in ("core", "core_probabilities")] or [model]
    return list(core.get_weights())


def set_start_weights(core: keras.Model, weights: Arrays) -> None:
    """Give a model these weights; raise TrainingError, naming the first that differs, where the shapes don't fit.

    A saved model has no auxiliary heads, and no discriminator: that of a model to be trained keeps what it has.
    """
    if isinstance(core, WithAuxiliaryHeads | AdversarialNetworks) and len(weights) == len(core.core.weights):
        core = core.core
    wanted = [(weight.path, tuple(weight.shape)) for weight in core.weights]
    found = [array.shape for array in weights]
    if len(wanted) != len(found):
        raise TrainingError(
            f"train.start_from: the model has {len(wanted)} weights, the one to start from {len(found)}; "
            "start from a model of the same layers, or leave train.start_from out"
        )
    for (path, shape), other in zip(wanted, found, strict=True):
        if shape != other:
            raise TrainingError(
                f"train.start_from: {path} has shape {shape}, in the model to start from {other}; "
                "start from a model of the same layers, or leave train.start_from out"
            )
    core.set_weights(list(weights))
