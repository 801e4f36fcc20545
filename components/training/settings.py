"""How a model is trained."""

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from headrace.components.models.layers.layer import all_layers
from headrace.components.models.layers.normalizations import BatchNormalization
from headrace.components.models.settings import AnyModel, Gan, Model, OwnModel
from headrace.components.schema.settings import Settings
from headrace.components.tasks.losses import AnyLoss
from headrace.components.training.plan import Plan

Rate = Annotated[float, Field(gt=0, le=10)]
Epochs = Annotated[float, Field(ge=0, le=100_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class Constant(Settings):
    """`peak` throughout, after a linear rise from 0 over the first `warmup_epochs`."""

    kind: Literal["constant"] = "constant"
    peak: Rate
    """The highest learning rate."""

    warmup_epochs: Epochs = 0
    """Epochs of a linear rise from 0 to `peak`; fractions are allowed."""


class Cosine(Settings):
    """Half a cosine from `peak` down to `peak * final_share` at the last step (Loshchilov and Hutter, 2017)."""

    kind: Literal["cosine"] = "cosine"
    peak: Rate
    """The highest learning rate."""

    warmup_epochs: Epochs = 0
    """Epochs of a linear rise from 0 to `peak`; fractions are allowed."""

    final_share: Share = 0.0
    """The last learning rate, as a share of `peak`."""


class Exponential(Settings):
    """`peak * decay_rate ** (epochs since the warm-up / decay_epochs)`, or by whole periods, as a staircase."""

    kind: Literal["exponential"] = "exponential"
    peak: Rate
    """The highest learning rate."""

    decay_rate: Annotated[float, Field(gt=0, le=1)]
    """Factor per `decay_epochs`."""

    decay_epochs: Annotated[float, Field(gt=0, le=100_000)] = 1
    """Number of epochs per factor of `decay_rate`."""

    staircase: bool = False
    """Whether to decay at the end of each period, instead of at each step."""

    warmup_epochs: Epochs = 0
    """Epochs of a linear rise from 0 to `peak`; fractions are allowed."""


class Piecewise(Settings):
    """`learning_rates` one after the other, changed after each of `boundaries_epochs`."""

    kind: Literal["piecewise"] = "piecewise"
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=2)]
    """The learning rates, one after the other."""

    boundaries_epochs: tuple[Annotated[float, Field(gt=0)], ...]
    """Epochs after which the next learning rate applies; one fewer than `learning_rates`."""

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
    """The highest learning rate."""

    warmup_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of all steps that the rise takes."""

    initial_share: Annotated[float, Field(gt=0, le=1)] = 0.04
    """The first learning rate, as a share of `peak`."""

    final_share: Share = 0.0001
    """The last learning rate, as a share of `peak`."""


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


class LayerRate(Settings):
    """Another learning rate for some layers."""

    layers: Annotated[str, Field(min_length=1)]
    """Name of the layers, or a pattern such as `encoder*` or `encoder/*`: of `train.model.layers` their `name`, of a
    model of a file Keras's names. What is within a layer belongs to it.
    """

    factor: Annotated[float, Field(gt=0, le=1000)]
    """What the learning rate, and the weight decay with it, is multiplied by."""


class _Optimizer(Settings):
    """What every optimizer has."""

    learning_rate: LearningRate
    """A number, or a schedule: a section whose `kind` decides its keys."""

    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Share of each weight that an update subtracts, times the learning rate. `null` for Keras's default: 0.004 for
    `adamw`, none for the others.
    """

    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest global norm of the gradients of a global batch; larger ones are scaled down to it."""

    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=65_536)] = 1
    """Number of global batches whose gradients are averaged for one update."""

    rates: tuple[LayerRate, ...] = ()
    """Learning rates of single layers, as factors. Of the patterns that match a layer the first counts."""

    ema_momentum: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of itself that a moving average of each weight keeps at each step (0.999: about the last 1,000 steps).
    Validation, checkpoints and the saved model use the averages. The momentum of `batch_normalization` must be as
    large.
    """


class Sgd(_Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's correction if asked for."""

    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last update that is added to the next."""

    nesterov: bool = False
    """Whether to use Nesterov's momentum."""


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015), or AdamW with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adam", "adamw"]
    """Plain Adam, or AdamW with decoupled weight decay."""

    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""

    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""


class RmsProp(_Optimizer):
    """RMSprop (Tieleman and Hinton, 2012)."""

    kind: Literal["rmsprop"] = "rmsprop"
    rho: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the moving average of squared gradients."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last update that is added to the next."""


class Adagrad(_Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011)."""

    kind: Literal["adagrad"] = "adagrad"
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    """Initial value of the sums of squared gradients."""


class Lion(_Optimizer):
    """Lion (Chen et al., 2023); wants a learning rate three to ten times smaller than Adam's."""

    kind: Literal["lion"] = "lion"
    beta_1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Weight of the moving average in the direction of an update."""

    beta_2: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay of the moving average of gradients."""


Optimizer = Annotated[Sgd | Adam | RmsProp | Adagrad | Lion, Field(discriminator="kind")]


class Training(Plan):
    """The model and how it is trained: everything that decides the weights besides the data."""

    model: AnyModel
    """The layers, the architecture, or a file of the project's own that makes the model."""

    optimizer: Optimizer | None = None
    """The optimizer; its `kind` decides the keys. `null` where the model's file gives one."""

    loss: AnyLoss | None = None
    """The loss; its `kind` decides the keys. `null` for that of the label, or of the model's file: squared errors of
    numbers, cross-entropy of classes and tokens. Metrics of an evaluation do not depend on it.
    """

    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Weight of each class in the training loss; a class that is not named has weight 1. `balanced` gives all classes
    the same total weight.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes, in training and validation loss. With generated images, it
    is subtracted from the label 1 of real ones.
    """

    calibration: Literal["none", "temperature", "isotonic"] = "none"
    """How the saved model's probabilities are corrected by the validation split: `temperature` divides the logits by
    one number, `isotonic` puts each class's probability on a rising line. The weights stay as they are, as do the
    metrics of epochs.
    """

    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Type that the layers compute in; weights and the output are float32."""

    jit_compile: bool = False
    """Whether to compile the step with XLA."""

    steps_per_execution: Annotated[int, Field(ge=1, le=65_536)] = 1
    """Number of steps that run without returning to Python; more is faster for small models."""

    start_from: str | None = None
    """Initial weights: a git revision (`main`, `v1.2`), whose checkpoint of this pipeline DVC fetches, or a registered
    model (`@champion`, `mnist@champion`). The layers must be the same.
    """

    @model_validator(mode="after")
    def _statistics_are_averaged_as_long_as_weights(self) -> Self:
        # Averaged weights give smaller activations than those whose moments were taken: a classifier that is right for
        # 97% of its training batches was right for 11% of the validation set, at 0.9 and 0.998.
        ema = self.optimizer.ema_momentum if self.optimizer else None
        if ema is None or not isinstance(self.model, Model):
            return self
        lists = {"layers": self.model.layers or ()} | {f"inputs.{k}": v for k, v in self.model.branches.items()}
        for name, layers in lists.items():
            for place, layer in enumerate(layers):
                below = [one.momentum for one in all_layers([layer]) if isinstance(one, BatchNormalization)]
                if below and min(below) < ema:
                    raise ValueError(
                        f"model.{name}.{place} (batch_normalization): momentum {min(below)} is below the optimizer's "
                        f"ema_momentum {ema}, so its averages would not be those of the averaged weights; raise it to "
                        f"{ema}"
                    )
        return self

    @model_validator(mode="after")
    def _xla_can_compile_it(self) -> Self:
        if self.jit_compile and isinstance(self.model, Model) and self.model.augment is not None:
            raise ValueError(
                "jit_compile: XLA has no resampling of images, as model.augment needs; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _there_is_one_loss(self) -> Self:
        if isinstance(self.model, OwnModel) and self.model.loss is not None and self.loss is not None:
            raise ValueError("give either loss or model.loss, found both")
        return self

    @model_validator(mode="after")
    def _rates_are_of_named_layers(self) -> Self:
        if not isinstance(self.model, Model) or self.optimizer is None:
            return self  # the names of a file's layers are known once it is built
        names = [] if isinstance(self.model.architecture, Gan) else [*self.model.layer_names, "output"]
        for place, rate in enumerate(self.optimizer.rates):
            if not any(fnmatchcase(name, rate.layers) for name in names):
                raise ValueError(
                    f"optimizer.rates.{place}.layers: no layer is called {rate.layers!r}; names are "
                    f"{', '.join(names) or 'none'}; give the layer a name"
                )
        return self

    @model_validator(mode="after")
    def _there_is_one_optimizer(self) -> Self:
        gives_one = isinstance(self.model, OwnModel) and self.model.optimizer is not None
        if gives_one == (self.optimizer is not None):
            found = "both" if gives_one else "neither"
            raise ValueError(f"give either optimizer or, for a model of a file, model.optimizer, found {found}")
        return self
