"""Private names of Keras: what `fit` on several workers needs, and no public name gives (keras#20585)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.trainers.compile_utils import CompileLoss

TESTED_VERSIONS = ("3.15.1",)  # checked by `check_keras_version`, which a setting may relax

# Attributes that are set on single objects, each named once.
MAYBE_SYMBOLIC_BUILD = "_maybe_symbolic_build"  # of a model: builds what `compile` left open
DISTRIBUTE_STRATEGY = "_distribute_strategy"  # of a model: the strategy that `predict` runs under
MOMENTS = "_moments"  # of BatchNormalization: mean and variance of a batch
ALL_REDUCE_SUM_GRADIENTS = "_all_reduce_sum_gradients"  # of an optimizer: Keras's own exchange
RESULT_OR_LOGS = "_get_metrics_result_or_logs"  # of a model: an epoch's figures, or else what its last step returned
APPLY_WEIGHT_DECAY = "_apply_weight_decay"  # of an optimizer: what it subtracts from weights before an update
DIRECT_ASSIGN = "_direct_assign"  # of a variable: assigns without a strategy's rules


def flat_layers(model: keras.Model) -> list[keras.Layer]:
    """All layers of a model, those within layers included."""
    return list(model._flatten_layers())


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Layers that a layer or model has as attributes."""
    return list(layer._layers)


def own_trainable_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Weights of a layer itself, without those of the layers within it."""
    return list(layer._trainable_variables)


def place_of_variable(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Place of a variable, or of TensorFlow's within it, among those that the optimizer was built with."""
    place: int = optimizer._get_variable_index(variable)
    return place


def layers_that_draw(model: keras.Model) -> list[keras.Layer]:
    """Layers with a random generator of Keras's, such as Dropout."""
    return [layer for layer in flat_layers(model) if layer._seed_generators]


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """States of the random generators of a model's layers, and of Keras's own one where anything has used it."""
    generators = [generator for layer in flat_layers(model) for generator in layer._seed_generators]
    if (of_all := get_global_attribute(GLOBAL_SEED_GENERATOR)) is not None:
        generators.append(of_all)
    return list({id(generator): generator.state for generator in generators}.values())


def build_from_batch(model: keras.Model, batch: Any) -> None:
    """Build model, metrics and losses from the shapes and types of a batch."""
    model._symbolic_build(data_batch=batch)


def compiled_losses(model: keras.Model) -> list[keras.losses.Loss]:
    """Losses of a compiled and built model, one for each output; none where it has no loss."""
    return [] if model._compile_loss is None else [flat.loss for flat in model._compile_loss._flat_losses]


def owned_losses(model: keras.Model) -> list[keras.losses.Loss]:
    """Loss objects that a model or a model within it has as attributes, for a train_step that calls them."""
    models = [layer for layer in flat_layers(model) if isinstance(layer, keras.Model)]
    values = [value for one in models for value in vars(one).values()]
    flat = [one for value in values for one in (value.values() if isinstance(value, dict) else _as_list(value))]
    found = [one for one in flat if isinstance(one, keras.losses.Loss) and not isinstance(one, CompileLoss)]
    return list({id(loss): loss for loss in found}.values())


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def loss_trackers(model: keras.Model) -> list[keras.metrics.Metric]:
    """Metrics that keep the mean of each of several outputs' losses."""
    return [] if model._compile_loss is None else list(model._compile_loss.metrics)


def mask_of(output: Any) -> Any:
    """The mask of a tensor, which Keras multiplies into the loss; None where it has none."""
    return getattr(output, "_keras_mask", None)


def losses_of_outputs(model: keras.Model, outputs: Any) -> list[tuple[keras.losses.Loss, Any]]:
    """Each loss of a compiled and built model with the output that it is of."""
    pairs = []
    for path, loss, *_ in [] if model._compile_loss is None else model._compile_loss._flat_losses:
        output = outputs
        for part in path if isinstance(outputs, (dict, list, tuple)) else ():
            output = output[part]
        pairs.append((loss, output))
    return pairs


def reduction_axes(layer: keras.layers.BatchNormalization) -> Sequence[int]:
    """Axes over which the layer takes its moments."""
    axes: Sequence[int] = layer._reduction_axes
    return axes


def step_count(optimizer: keras.optimizers.Optimizer) -> Any:
    """Variable that counts the optimizer's updates; `iterations` hides it while gradients are accumulated."""
    return optimizer._iterations


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[tuple[Any, Any]]:
    """Each trained variable with the variable that holds its moving average."""
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True))
