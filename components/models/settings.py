"""Models as a list of layers or a named architecture, checked before anything starts."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from headrace.components.own_code.named_code import FunctionName, PythonFile
from headrace.components.schema.settings import Settings
from headrace.components.transforms.augment import Augment

Activation = Literal[
    "linear", "relu", "leaky_relu", "gelu", "silu", "elu", "selu", "tanh", "sigmoid", "softplus", "softmax"
]
Positive = Annotated[int, Field(ge=1, le=65_536)]


class Dense(Settings):
    """A fully connected layer; an input with more than one axis is flattened first."""

    kind: Literal["dense"] = "dense"
    units: Positive
    """Number of outputs."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the squared weights that are added to the loss."""


class Conv2D(Settings):
    """A 2-D convolution over float32[batch, height, width, channel]."""

    kind: Literal["conv2d"] = "conv2d"
    filters: Positive
    """Number of output channels."""

    kernel_size: Annotated[int, Field(ge=1, le=64)]
    """Height and width of the window."""

    strides: Annotated[int, Field(ge=1, le=64)] = 1
    """Step of the window."""

    padding: Literal["valid", "same"] = "same"
    """`same` pads with zeros; `valid` makes the image smaller."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the squared weights that are added to the loss."""


class Pooling2D(Settings):
    """The maximum or the average of each window; `strides` is the window's size unless given."""

    kind: Literal["max_pooling2d", "average_pooling2d"]
    """The maximum or the average of each window."""

    pool_size: Annotated[int, Field(ge=1, le=64)] = 2
    """Height and width of the window."""

    strides: Annotated[int, Field(ge=1, le=64)] | None = None
    """Step of the window; `null` for the window's size."""

    padding: Literal["valid", "same"] = "valid"
    """`same` pads the image; `valid` makes it smaller."""


class GlobalPooling2D(Settings):
    """The maximum or the average over height and width."""

    kind: Literal["global_max_pooling2d", "global_average_pooling2d"]
    """The maximum or the average over height and width."""


class Flatten(Settings):
    """All axes but the batch's become one."""

    kind: Literal["flatten"] = "flatten"


class Dropout(Settings):
    """Sets a random share `rate` of its inputs to 0 while training (Srivastava et al., 2014)."""

    kind: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)]
    """Share of the inputs that are set to 0 in training."""


class DropConnect(Settings):
    """A fully connected layer that drops weights instead of outputs while training (Wan et al., 2013).

    Every example has a mask of its own, for weights and biases. After training all weights count, without sampling.
    """

    kind: Literal["drop_connect"] = "drop_connect"
    units: Positive
    """Number of outputs."""

    rate: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the weights that are set to 0 in training."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""


class BatchNormalization(Settings):
    """Normalizes by the statistics of the global batch, all workers together (Ioffe and Szegedy, 2015)."""

    kind: Literal["batch_normalization"] = "batch_normalization"
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the moving averages that each step keeps; they are used after training."""


class LocalResponseNormalization(Settings):
    """Each channel divided by `(bias + alpha * sum of its neighbours' squares) ** beta` (Krizhevsky et al., 2012).

    A channel's neighbours are those at most `radius` away, itself included. The defaults are the paper's.
    """

    kind: Literal["local_response_normalization"] = "local_response_normalization"
    radius: Annotated[int, Field(ge=0, le=64)] = 2
    """Number of channels on each side that count as neighbours, besides the channel itself."""

    bias: Annotated[float, Field(gt=0)] = 2.0
    """The paper's k."""

    alpha: Annotated[float, Field(ge=0)] = 0.0001
    """Factor of the sum, not of the mean: other libraries divide theirs by the number of neighbours."""

    beta: Annotated[float, Field(ge=0)] = 0.75
    """The exponent."""


class Embedding(Settings):
    """A vector of `units` learned numbers for each token of a text; only the first layer can be one."""

    kind: Literal["embedding"] = "embedding"
    units: Positive
    """Size of each vector."""


class OneHotTokens(Settings):
    """For each token of a text, a vector that is 1 at the token's place, else 0; only the first layer can be one."""

    kind: Literal["one_hot"] = "one_hot"


class Recurrent(Settings):
    """A recurrent layer over a sequence: simple (Elman, 1990), LSTM (Hochreiter and Schmidhuber, 1997) or GRU.

    GRU is of Cho et al., 2014. It gives its state after each place or, without `return_sequences`, after the last token
    before padding. The state begins at zero with every example: backpropagation through time ends there.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["rnn", "lstm", "gru"]
    """Elman's simple cell (`rnn`), LSTM or GRU."""

    units: Positive
    """Size of the state."""

    return_sequences: bool = True
    """Whether the output is the state after each token, which `next_token` needs, or only that after the last token
    before padding.
    """


class ActivationLayer(Settings):
    """An activation on its own."""

    kind: Literal["activation"] = "activation"
    activation: Activation
    """Keras's activation of that name."""


Layer = Annotated[
    Dense
    | Conv2D
    | Pooling2D
    | GlobalPooling2D
    | Flatten
    | Dropout
    | DropConnect
    | BatchNormalization
    | LocalResponseNormalization
    | Embedding
    | OneHotTokens
    | Recurrent
    | ActivationLayer,
    Field(discriminator="kind"),
]


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
        if self.gradient_penalty and any(isinstance(layer, BatchNormalization) for layer in self.discriminator):
            raise ValueError(
                "gradient_penalty is of each image by itself, which batch_normalization in the discriminator mixes; "
                "leave one of them out"
            )
        return self


Architecture = Annotated[LeNet | AlexNet | Vgg | GoogLeNet | Gan, Field(discriminator="kind")]


class Model(Settings):
    """What is between the input and the output, whose layer follows from the label."""

    layers: tuple[Layer, ...] | None = None
    """The layers between input and output; each one's `kind` decides its keys. May be empty."""

    architecture: Architecture | None = None
    """A named architecture for images, instead of `layers`; its `kind` decides its keys."""

    augment: Augment | None = None
    """How images are changed at random in training; with `layers` or `architecture`."""

    @property
    def noise(self) -> int | None:
        """How many numbers of noise a generator takes; None for a model that takes features."""
        return self.architecture.noise if isinstance(self.architecture, Gan) else None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.layers is None) == (self.architecture is None):
            found = "neither" if self.layers is None else "both"
            raise ValueError(f"give either layers or architecture, found {found}")
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

    inputs: dict[FunctionName, Annotated[tuple[str, ...], Field(min_length=1)]] | None = None
    """The model's inputs by name, each of some features side by side. By default each image and each text is an input
    of its own name, and all numbers and categories together are the input `features`.
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
