"""Models as a list of layers or a named architecture, checked before anything starts."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from headrace.components.models.layers.any_layer import Layer
from headrace.components.models.layers.layer import LayerSettings, all_layers
from headrace.components.models.layers.normalizations import BatchNormalization
from headrace.components.models.pretrained_weights import ARGUMENT, PretrainedWeights
from headrace.components.own_code.named_code import FunctionName, PythonFile
from headrace.components.schema.settings import Settings
from headrace.components.transforms.augment import Augment


class LeNet(Settings):
    """LeNet-5 (LeCun et al., 1998), or as it is commonly built today: `variant`."""

    kind: Literal["lenet"] = "lenet"
    variant: Literal["paper", "modern"] = "paper"
    """`modern`: ReLU, pooling without weights, and each map sees all maps before it."""

    padding: Annotated[int, Field(ge=0, le=16)] = 2
    """Pixels of 0 on each side; 2 makes MNIST's 28 x 28 the paper's 32 x 32."""

    @property
    def smallest_input(self) -> int:
        """Least height and width in pixels: the last convolution has one place then."""
        return max(1, 32 - 2 * self.padding)


class _Scalable(Settings):
    """What every larger architecture has."""

    width: Annotated[float, Field(gt=0, le=8)] = 1.0
    """Number of filters and units, as a share of the paper's."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Dropout rate after each fully connected layer."""

    def scaled(self, size: int) -> int:
        """Number of filters or units of a layer that has `size` in the paper; an even number."""
        return max(2, 2 * round(size * self.width / 2))


class AlexNet(_Scalable):
    """AlexNet (Krizhevsky et al., 2012), in two towers as in the paper or in one."""

    kind: Literal["alexnet"] = "alexnet"
    towers: Literal[1, 2] = 2
    """2 as in the paper, where convolutions 2, 4 and 5 see half of the channels each."""

    @property
    def smallest_input(self) -> int:
        """Least height and width in pixels: the last pooling has one place then."""
        return 67


class Vgg(_Scalable):
    """VGG (Simonyan and Zisserman, 2015), by the columns of the paper's table 1; D is VGG-16, E is VGG-19."""

    kind: Literal["vgg"] = "vgg"
    configuration: Literal["A", "A-LRN", "B", "C", "D", "E"] = "D"
    """Column of the paper's table 1; D is VGG-16, E is VGG-19."""

    @property
    def smallest_input(self) -> int:
        """Least height and width in pixels: it is halved five times."""
        return 32


class GoogLeNet(_Scalable):
    """GoogLeNet (Szegedy et al., 2015), of Inception modules with reduction or of the naive ones."""

    kind: Literal["googlenet"] = "googlenet"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Dropout rate before the output layer; it is 0.7 in the auxiliary heads."""

    reduction: bool = True
    """`false`: Inception modules without 1 x 1 reductions, the paper's "naive" ones."""

    auxiliary_heads: bool = True
    """Whether two more outputs in the middle count in the training loss."""

    @property
    def smallest_input(self) -> int:
        """Least height and width in pixels: the heads' pooling has one place then; without heads all is padded."""
        return 65 if self.auxiliary_heads else 1


class Gan(Settings):
    """Two networks that learn from each other (Goodfellow et al., 2014): one makes images, one detects generated ones.

    The generator's layers take float32[batch, noise], the discriminator's an image.
    """

    kind: Literal["gan"] = "gan"
    noise: Annotated[int, Field(ge=1, le=65_536)] = 100
    """Number of values of a standard normal distribution that an image is generated from."""

    generator: tuple[Layer, ...]
    """Layers of the generator; a dense layer of sigmoids, one for each value of an image, follows."""

    discriminator: tuple[Layer, ...]
    """Layers of the discriminator; a dense layer with one logit follows."""

    gradient_penalty: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """R1 (Mescheder et al., 2018): half of it times the mean squared gradient of the logit by a real image is added to
    the discriminator's loss. A larger one slows the discriminator and makes images less sharp.
    """

    @model_validator(mode="after")
    def _a_penalty_is_of_each_image(self) -> Self:
        if self.gradient_penalty and any(
            isinstance(layer, BatchNormalization) for layer in all_layers(self.discriminator)
        ):
            raise ValueError(
                "gradient_penalty is of each image by itself, which batch_normalization in the discriminator mixes; "
                "leave one of them out"
            )
        return self


Architecture = Annotated[LeNet | AlexNet | Vgg | GoogLeNet | Gan, Field(discriminator="kind")]


class InputBranch(Settings):
    """An input of some features side by side, and the layers over it."""

    features: Annotated[tuple[str, ...], Field(min_length=1)]
    """The features, in order. An image or a text can't be beside others."""

    layers: tuple[Layer, ...] = ()
    """The layers over the input; each one's `kind` decides its keys. May be empty."""


def _is_section(value: Any) -> str:
    return "(section)" if isinstance(value, dict | InputBranch) else "(layers)"


Branch = Annotated[
    Annotated[tuple[Layer, ...], Tag("(layers)")] | Annotated[InputBranch, Tag("(section)")],
    Discriminator(_is_section),
]

RESERVED_NAMES = ("features", "joined", "output", "probabilities", "core", "core_probabilities")


class Model(Settings):
    """What is between the input and the output, whose layer follows from the label."""

    layers: tuple[Layer, ...] | None = None
    """The layers between input and output; each one's `kind` decides its keys. May be empty. With `inputs`, they take
    what the inputs give, side by side.
    """

    inputs: Annotated[dict[str, Branch], Field(min_length=2)] | None = None
    """Several inputs, each with layers of its own: a list of layers by the name of a feature, or by `features` for all
    that no other input takes, or a section of `features` and `layers` by a name of your own. An image and a text each
    need one.
    """

    architecture: Architecture | None = None
    """A named architecture for images, instead of `layers`; its `kind` decides its keys."""

    augment: Augment | None = None
    """How images are changed at random in training; with `layers` or `architecture`."""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names that params.yaml gives to layers, in their order."""
        return tuple(one.layer_name for one in self.every_layer if one.layer_name)

    @property
    def branches(self) -> dict[str, tuple[Layer, ...]]:
        """Layers of each input by its name; none where there is one input."""
        return {
            name: branch.layers if isinstance(branch, InputBranch) else branch
            for name, branch in (self.inputs or {}).items()
        }

    @property
    def every_layer(self) -> list[LayerSettings]:
        """All layers, those of inputs and those within layers included; none of an architecture."""
        lists = (*self.branches.values(), self.layers or ())
        return [layer for layers in lists for layer in all_layers(layers)]

    @property
    def noise(self) -> int | None:
        """How many numbers of noise a generator takes; None for a model that takes features."""
        return self.architecture.noise if isinstance(self.architecture, Gan) else None

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        names = self.layer_names
        for name in names:
            if names.count(name) > 1 or name in RESERVED_NAMES:
                reason = "is one of Headrace's" if name in RESERVED_NAMES else "is there twice"
                raise ValueError(f"the name {name!r} of a layer {reason}; take another")
        return self

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.layers is None) == (self.architecture is None):
            found = "neither" if self.layers is None else "both"
            raise ValueError(f"give either layers or architecture, found {found}")
        if self.inputs is not None and self.layers is None:
            raise ValueError("inputs: an architecture takes one image; give layers, which may be [], instead")
        if isinstance(self.architecture, Gan) and self.augment is not None:
            raise ValueError("a generator would learn to make changed images; leave augment out")
        return self


class OwnModel(Settings):
    """A Keras model that a file of the project makes, and what else that file gives its training."""

    file: PythonFile
    """Path of a Python file in the project. What it imports inside the project belongs to it."""

    function: FunctionName = "build_model"
    """Function `(inputs, label, **arguments)` of that file that returns a `keras.Model` of logits or numbers."""

    arguments: dict[FunctionName, Any] = Field(default={})
    """Arguments of the function by name, checked against its annotations."""

    weights: PretrainedWeights | None = None
    """Weights to start from: a path in the project, of a `.weights.h5`, `.h5` or `.keras` file or of the folder of a
    KerasHub preset; or a section for a file that is fetched. The function gets the path on each worker as its argument
    `weights`. Where it takes no such argument, they are loaded into the model.
    """

    inputs: dict[FunctionName, Annotated[tuple[str, ...], Field(min_length=1)]] | None = None
    """The model's inputs by name, each of some features side by side. By default each image, text and vector is an
    input of its own name, and all numbers and categories together are the input `features`.
    """

    loss: FunctionName | None = None
    """Function `(label)` of the file that returns a `keras.losses.Loss`; `null` for that of the label."""

    metrics: FunctionName | None = None
    """Function `(label)` of the file that returns a list of `keras.metrics.Metric`; `null` for those of the label."""

    optimizer: FunctionName | None = None
    """Function `(*, steps_per_epoch, epochs)` of the file that returns a `keras.optimizers.Optimizer`, instead of
    `train.optimizer`.
    """

    callbacks: FunctionName | None = None
    """Function `()` of the file that returns a list of `keras.callbacks.Callback`, which act on every worker."""

    @model_validator(mode="after")
    def _weights_are_given_once(self) -> Self:
        if self.weights is not None and ARGUMENT in self.arguments:
            raise ValueError(f"give either weights or arguments.{ARGUMENT}, found both")
        return self

    @property
    def noise(self) -> None:
        """No noise: a model of a file is no generator."""
        return

    @property
    def functions(self) -> dict[str, tuple[str, ...]]:
        """Each function of the file that is called, with the names of what it is called with."""
        called: dict[str, tuple[str, ...]] = {self.function: ("inputs", "label")}
        called |= {name: ("label",) for name in (self.loss, self.metrics) if name}
        return called | {name: () for name in (self.optimizer, self.callbacks) if name}


def _kind(value: Any) -> str:
    is_file = isinstance(value, OwnModel) or (isinstance(value, dict) and "file" in value)
    return "(file)" if is_file else "(layers)"


AnyModel = Annotated[
    Annotated[Model, Tag("(layers)")] | Annotated[OwnModel, Tag("(file)")],
    Discriminator(_kind),
]
