"""What a user who starts a run may change in it: settings of numbers, choices and names, and never a place.

Users who may press Trigger in Airflow have less authority than those who commit to the project. An address, a path, a
checksum, `allow_http`, a schedule, initial weights or code are closed. They would let that user read files of the
worker, call its network or replace what is trained. What is not listed here is closed, so a new setting is closed until
it is listed.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel

from headrace.components.errors import ParamsError
from headrace.pipelines.params import Pipeline

SECTIONS = ("normalize", "split", "train", "evaluate", "register")

_LISTED = {
    # training
    "Training": "global_batch_size epochs steps_per_epoch seed best_by early_stopping class_weights label_smoothing "
    "calibration window_examples precision jit_compile gradient_compression steps_per_execution loss",
    "MeanSquaredError": "kind",
    "MeanAbsoluteError": "kind",
    "Huber": "kind delta",
    "LogCosh": "kind",
    "Quantile": "kind quantile",
    "CrossEntropy": "kind",
    "BinaryCrossEntropy": "kind",
    "Focal": "kind gamma alpha",
    "Train": "num_workers use_gpu max_failures start_timeout_seconds",
    "ElasticWorkers": "min max",
    "EarlyStopping": "patience_epochs minimum_improvement",
    "Checkpoints": "every_steps keep_last keep_every_hours",
    "_Optimizer": "kind learning_rate weight_decay clip_norm gradient_accumulation_steps ema_momentum rates",
    "LayerRate": "layers factor",
    "Sgd": "momentum nesterov",
    "Adam": "beta_1 beta_2",
    "RmsProp": "rho momentum",
    "Adagrad": "initial_accumulator_value",
    "Lion": "beta_1 beta_2",
    "Constant": "kind peak warmup_epochs",
    "Cosine": "kind peak warmup_epochs final_share",
    "Exponential": "kind peak decay_rate decay_epochs staircase warmup_epochs",
    "Piecewise": "kind learning_rates boundaries_epochs",
    "OneCycle": "kind peak warmup_share initial_share final_share",
    # models
    "Model": "layers inputs architecture augment",
    "InputBranch": "layers",
    "Augment": "shift rotation_degrees shear_degrees zoom flip brightness contrast fill",
    "WeightedLayer": "name",
    "Dense": "kind units activation l2 each_place",
    "Conv2D": "kind filters kernel_size strides padding activation l2",
    "Pooling2D": "kind pool_size strides padding",
    "GlobalPooling2D": "kind",
    "Flatten": "kind",
    "Dropout": "kind rate",
    "DropConnect": "kind units rate activation",
    "BatchNormalization": "kind momentum",
    "LocalResponseNormalization": "kind radius bias alpha beta",
    "Embedding": "kind units",
    "OneHotTokens": "kind",
    "Recurrent": "kind cell units return_sequences bidirectional",
    "PositionEmbedding": "kind",
    "Attention": "kind heads head_units dropout causal",
    "LayerNormalization": "kind epsilon",
    "GroupNormalization": "kind groups epsilon",
    "Conv1D": "kind filters kernel_size strides dilation padding activation l2",
    "SeparableConvolution": "kind filters kernel_size strides padding depth_multiplier activation",
    "TransposedConvolution": "kind filters kernel_size strides padding activation",
    "Pooling1D": "kind pool_size strides padding",
    "GlobalPooling1D": "kind",
    "Reshape": "kind shape",
    "Residual": "kind layers",
    "Parallel": "kind branches join",
    "ActivationLayer": "kind activation",
    "LeNet": "kind variant padding",
    "_Scalable": "kind width dropout",
    "AlexNet": "towers",
    "Vgg": "configuration",
    "GoogLeNet": "reduction auxiliary_heads",
    "Gan": "kind noise generator discriminator gradient_penalty",
    # normalization
    "Normalize": "label",
    "Standardize": "kind",
    "MinMax": "kind",
    "ScalePixels": "kind",
    "OneHot": "kind",
    "Ordinal": "kind categories",
    "Impute": "kind strategy indicator",
    "Polynomial": "kind degree",
    "Vocabulary": "kind size",
    "BackboneFeatures": "alpha mirrored augmented_copies augment",
    # splits, evaluation and the gate
    "Split": "seed validation_fraction test_fraction validation_from test_from overlap held_out fold test_generation",
    "Evaluate": "judge worst_examples random_examples baselines threshold importance attributions",
    "BaselineSettings": "enabled maximum_rows",
    "MistakeCosts": "false_positive_cost false_negative_cost",
    "ImportanceSettings": "repeats maximum_rows",
    "JudgeSettings": "by examples epochs samples confidence seed",
    "Register": "failing_champion decisions_per_test_set",
    "Compare": "metric minimum_improvement confidence when_unsure",
    "Guard": "worse_by when_unsure",
    "Slice": "minimum_rows",
    "Budget": "model_bytes latency_ms",
    "Threshold": "minimum maximum",
}
OPEN_KEYS = {name: frozenset(keys.split()) for name, keys in _LISTED.items()}


class Leaf(NamedTuple):
    """One value of a pipeline's section, and which key of which settings class it belongs to."""

    place: str
    value: Any
    owner: type[BaseModel]
    key: str


def leaves(pipeline: Pipeline) -> Iterator[Leaf]:
    """Every value of a pipeline's section, defaults too, in the order of the classes."""
    return _below(pipeline, Leaf("", None, Pipeline, ""))


def is_open(leaf: Leaf) -> bool:
    """Whether a user who starts a run may change this value."""
    return is_listed(leaf.owner, leaf.key) and leaf.place.partition(".")[0] in SECTIONS


@cache
def is_listed(owner: type[BaseModel], key: str) -> bool:
    """Whether a key of a settings class is in the list, under its own name or that of a class it is made from."""
    return any(key in OPEN_KEYS.get(base.__name__, ()) for base in owner.__mro__)


def closed(place: str) -> ParamsError:
    """The error of a place that a run can't change."""
    return ParamsError(
        f"{place}: a run can't change it, only numbers, choices and names of {', '.join(SECTIONS)}; edit params.yaml"
    )


def require_open(before: Pipeline, after: Pipeline) -> None:
    """Raise ParamsError if anything differs that a run must not change, however it came to differ."""
    old = {leaf.place: leaf for leaf in leaves(before)}
    new = {leaf.place: leaf for leaf in leaves(after)}
    for place in [*new, *(place for place in old if place not in new)]:
        sides = [side[place] for side in (old, new) if place in side]
        if (len(sides) == 1 or sides[0].value != sides[1].value) and not all(map(is_open, sides)):
            raise closed(place)


def _below(value: Any, at: Leaf) -> Iterator[Leaf]:
    prefix = f"{at.place}." if at.place else ""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            key = field.alias or name
            yield from _below(getattr(value, name), Leaf(f"{prefix}{key}", None, type(value), key))
    elif isinstance(value, dict | tuple):
        for part, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _below(item, at._replace(place=f"{prefix}{part}"))
    else:
        yield at._replace(value=value)
