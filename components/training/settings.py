"""How a model is trained."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from headrace.components.models.settings import BatchNormalization, Model
from headrace.components.settings import Settings
from headrace.components.training.figures import LAST

Rate = Annotated[float, Field(gt=0, le=10)]
Epochs = Annotated[float, Field(ge=0, le=100_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class Constant(Settings):
    """`peak` throughout, after a linear rise from 0 over the first `warmup_epochs`."""

    kind: Literal["constant"] = "constant"
    peak: Rate
    warmup_epochs: Epochs = 0


class Cosine(Settings):
    """Half a cosine from `peak` down to `peak * final_share` at the last step (Loshchilov and Hutter, 2017)."""

    kind: Literal["cosine"] = "cosine"
    peak: Rate
    warmup_epochs: Epochs = 0
    final_share: Share = 0.0


class Exponential(Settings):
    """`peak * decay_rate ** (epochs since the warm-up / decay_epochs)`, or by whole periods, as a staircase."""

    kind: Literal["exponential"] = "exponential"
    peak: Rate
    decay_rate: Annotated[float, Field(gt=0, le=1)]
    decay_epochs: Annotated[float, Field(gt=0, le=100_000)] = 1
    staircase: bool = False
    warmup_epochs: Epochs = 0


class Piecewise(Settings):
    """`learning_rates` one after the other, changed after each of `boundaries_epochs`."""

    kind: Literal["piecewise"] = "piecewise"
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=2)]
    boundaries_epochs: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _one_boundary_between_two_rates(self) -> Self:
        boundaries = self.boundaries_epochs
        if len(boundaries) != len(self.learning_rates) - 1 or list(boundaries) != sorted(set(boundaries)):
            raise ValueError(
                f"{len(self.learning_rates)} learning_rates need {len(self.learning_rates) - 1} boundaries_epochs, "
                f"each larger than the one before; found {list(boundaries)}"
            )
        return self


class OneCycle(Settings):
    """Up to `peak` in the first `warmup_share` of all steps, then down to almost nothing (Smith and Topin, 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    peak: Rate
    warmup_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    initial_share: Annotated[float, Field(gt=0, le=1)] = 0.04
    final_share: Share = 0.0001


def _kind_of_rate(value: Any) -> str:
    """The tag of a learning rate: a plain number, or a schedule's kind."""
    return str(value.get("kind")) if isinstance(value, dict) else getattr(value, "kind", "(number)")


LearningRate = Annotated[
    Annotated[Rate, Tag("(number)")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[Exponential, Tag("exponential")]
    | Annotated[Piecewise, Tag("piecewise")]
    | Annotated[OneCycle, Tag("one_cycle")],
    Discriminator(_kind_of_rate),
]


class _Optimizer(Settings):
    """What every optimizer has."""

    learning_rate: LearningRate
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=65_536)] = 1
    ema_momentum: Annotated[float, Field(gt=0, lt=1)] | None = None


class Sgd(_Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's correction if asked for."""

    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015), or AdamW with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adam", "adamw"]
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999


class RmsProp(_Optimizer):
    """RMSprop (Tieleman and Hinton, 2012)."""

    kind: Literal["rmsprop"] = "rmsprop"
    rho: Annotated[float, Field(ge=0, lt=1)] = 0.9
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Adagrad(_Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011)."""

    kind: Literal["adagrad"] = "adagrad"
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1


class Lion(_Optimizer):
    """Lion (Chen et al., 2023); wants a learning rate three to ten times smaller than Adam's."""

    kind: Literal["lion"] = "lion"
    beta_1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(gt=0, lt=1)] = 0.99


Optimizer = Annotated[Sgd | Adam | RmsProp | Adagrad | Lion, Field(discriminator="kind")]


class EarlyStopping(Settings):
    """Training ends when `best_by` has not improved by more than `minimum_improvement` for `patience_epochs`."""

    patience_epochs: Annotated[int, Field(ge=1, le=100_000)]
    minimum_improvement: Annotated[float, Field(ge=0)] = 0.0


class Checkpoints(Settings):
    """When the training state is written: after each epoch, and every `every_steps` steps too where it is given.

    The last ones, the one of the best epoch and, where it is asked for, one of every so many hours are kept.
    """

    every_steps: Annotated[int, Field(ge=1)] | None = None
    keep_last: Annotated[int, Field(ge=2, le=1000)] = 5  # the newest may be damaged: there is always one more
    keep_every_hours: Annotated[float, Field(gt=0, le=10_000)] | None = None


class Training(Settings):
    """The model and how it is trained: everything that decides the weights besides the data."""

    model: Model
    optimizer: Optimizer
    global_batch_size: Annotated[int, Field(ge=1, le=1_048_576)]
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    best_by: str = "validation_loss"
    early_stopping: EarlyStopping | None = None
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(ge=0)]] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    window_examples: Annotated[int, Field(ge=16)] | None = None
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    jit_compile: bool = False
    gradient_compression: Literal["none", "bfloat16"] = "none"
    steps_per_execution: Annotated[int, Field(ge=1, le=65_536)] = 1
    start_from: str | None = None
    checkpoints: Checkpoints = Checkpoints()
    allow_untested_keras: bool = False

    @model_validator(mode="after")
    def _early_stopping_has_a_figure(self) -> Self:
        if self.best_by == LAST and self.early_stopping is not None:
            raise ValueError("early_stopping: with best_by: last no figure tells when to stop; leave one of them out")
        return self

    @model_validator(mode="after")
    def _a_window_is_more_than_a_batch(self) -> Self:
        if self.window_examples is not None and self.window_examples < 2 * self.global_batch_size:
            raise ValueError(
                f"window_examples {self.window_examples} is too small for global_batch_size {self.global_batch_size}; "
                f"raise it to {2 * self.global_batch_size} or, better, a hundred times that"
            )
        return self

    @model_validator(mode="after")
    def _statistics_are_averaged_as_long_as_weights(self) -> Self:
        # Averaged weights give smaller activations than those whose moments were taken: a classifier that is right for
        # 97% of its training batches was right for 11% of the validation set, at 0.9 and 0.998.
        ema = self.optimizer.ema_momentum
        for place, layer in enumerate(self.model.layers or ()):
            if ema is not None and isinstance(layer, BatchNormalization) and layer.momentum < ema:
                raise ValueError(
                    f"model.layers.{place} (batch_normalization): momentum {layer.momentum} is below the optimizer's "
                    f"ema_momentum {ema}, so its averages would not be those of the averaged weights; raise it to {ema}"
                )
        return self

    @model_validator(mode="after")
    def _xla_can_compile_it(self) -> Self:
        if self.jit_compile and self.model.augment is not None:
            raise ValueError(
                "jit_compile: XLA has no resampling of images, as model.augment needs; leave one of them out"
            )
        return self
