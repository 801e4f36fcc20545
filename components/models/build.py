"""Keras models from a list of layers, or from an architecture's name."""

import math
from collections.abc import Callable, Sequence

import keras

from headrace.components.models.alexnet import alexnet
from headrace.components.models.gan import AdversarialNetworks, Noise, Over, discriminator, generator
from headrace.components.models.googlenet import googlenet
from headrace.components.models.heads import WithAuxiliaryHeads
from headrace.components.models.lenet import lenet
from headrace.components.models.normalization import local_response_normalization
from headrace.components.models.output import Output
from headrace.components.models.sequences import over_tokens
from headrace.components.models.settings import (
    ActivationLayer,
    AlexNet,
    Architecture,
    BatchNormalization,
    Conv2D,
    Dense,
    DropConnect,
    Dropout,
    Embedding,
    Flatten,
    Gan,
    GlobalPooling2D,
    GoogLeNet,
    Layer,
    LeNet,
    LocalResponseNormalization,
    Model,
    OneHotTokens,
    Pooling2D,
    Recurrent,
    Vgg,
)
from headrace.components.models.vgg import vgg

Shape = Sequence[int]
MakeDropout = Callable[[float], keras.layers.Layer]
MakeDropConnect = Callable[[DropConnect], keras.layers.Layer]
MakeRandom = tuple[MakeDropout, MakeDropConnect]  # what draws at random: dropout, DropConnect

_POOLING = {
    "max_pooling2d": keras.layers.MaxPooling2D,
    "average_pooling2d": keras.layers.AveragePooling2D,
    "global_max_pooling2d": keras.layers.GlobalMaxPooling2D,
    "global_average_pooling2d": keras.layers.GlobalAveragePooling2D,
}


def build(model: Model, *, input_shape: Shape, output: Output, tokens: int | None = None) -> keras.Model:
    """A model from float32[batch, *input_shape] to float32[batch, units], or float32[batch, length, units] per token.

    The last layer has no activation: a loss takes logits, and `with_probabilities` adds a softmax to the model that is
    saved. `tokens` counts the ids of a text.
    This is the model to save: it is made of stock layers and has no auxiliary heads. Its weights are the first of those
    of `build_for_training`, in the same order. Of a GAN it is the generator, from noise float32[batch, noise] to images
    float32[batch, *input_shape].
    """
    if isinstance(model.architecture, Gan):
        over = _over((keras.layers.Dropout, _all_weights))
        return generator(model.architecture, image_shape=input_shape, over=over, classes=output.units)
    inputs = _inputs(input_shape)
    outputs = _connected(model, inputs, output, tokens, (keras.layers.Dropout, _all_weights))
    return keras.Model(inputs, outputs[0], name="core")


def build_for_training(
    model: Model,
    *,
    input_shape: Shape,
    output: Output,
    tokens: int | None = None,
    dropout: MakeDropout,
    drop_connect: MakeDropConnect,
    first: keras.layers.Layer | None = None,
) -> keras.Model:
    """Return the same model with auxiliary heads, where it has such, and with layers that draw at random.

    `dropout` makes a layer without weights from a rate, `drop_connect` one with those of `keras.layers.Dense`; `first`,
    without weights, comes before all others.
    """
    inputs = _inputs(input_shape)
    given = inputs if first is None else first(inputs)
    outputs = _connected(model, given, output, tokens, (dropout, drop_connect))
    core = keras.Model(inputs, outputs[0], name="core")
    return core if len(outputs) == 1 else WithAuxiliaryHeads(core, keras.Model(inputs, outputs, name="with_heads"))


def build_networks(
    gan: Gan,
    *,
    image_shape: Shape,
    classes: int,
    dropout: MakeDropout,
    drop_connect: MakeDropConnect,
    noise: Noise,
    label_smoothing: float = 0.0,
) -> AdversarialNetworks:
    """Return both networks of a GAN, to be trained; `noise` gives float32[examples of the batch, gan.noise].

    Both are conditioned on the class of each example where there are `classes`.
    """
    over = _over((dropout, drop_connect))
    core, other = (
        network(gan, image_shape=image_shape, over=over, classes=classes) for network in (generator, discriminator)
    )
    return AdversarialNetworks(
        core,
        other,
        noise=noise,
        label_smoothing=label_smoothing,
        gradient_penalty=gan.gradient_penalty,
        classes=classes,
    )


def with_probabilities(core: keras.Model) -> keras.Model:
    """A model of logits, `core`, with a softmax at its end; both share core's weights."""
    return keras.Model(core.input, keras.layers.Softmax(name="probabilities")(core.output), name="core_probabilities")


def _inputs(input_shape: Shape) -> keras.KerasTensor:
    return keras.Input(shape=tuple(input_shape), dtype="float32", name="features")


def _connected(
    model: Model, inputs: keras.KerasTensor, output: Output, tokens: int | None, random: MakeRandom
) -> list[keras.KerasTensor]:
    """All outputs: the model's own first, then those of its heads."""
    if model.architecture is not None:
        tensor, heads = _architecture(model.architecture, inputs, random[0])
    else:
        tensor, heads = inputs, []
        for layer in model.layers or ():
            tensor = _apply(layer, tensor, random, ids=inputs, tokens=tokens or 0)
    if output.per_token:
        return [keras.layers.Dense(output.units, dtype="float32", name="output")(tensor)]
    names = ["output", *(f"auxiliary_{place}_output" for place in range(1, len(heads) + 1))]
    # float32 whatever the precision of the layers: softmax and losses overflow in half precision.
    return [
        keras.layers.Dense(output.units, dtype="float32", name=name)(_flat(end))
        for name, end in zip(names, [tensor, *heads], strict=True)
    ]


def _over(random: MakeRandom) -> Over:
    def over(layers: Sequence[Layer], tensor: keras.KerasTensor) -> keras.KerasTensor:
        for layer in layers:
            tensor = _apply(layer, tensor, random, ids=tensor, tokens=0)
        return tensor

    return over


def _architecture(
    architecture: Architecture, images: keras.KerasTensor, dropout: MakeDropout
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    match architecture:
        case LeNet():
            return lenet(architecture, images), []
        case AlexNet():
            return alexnet(architecture, images, dropout=dropout), []
        case Vgg():
            return vgg(architecture, images, dropout=dropout), []
        case GoogLeNet():
            return googlenet(architecture, images, dropout=dropout)
        case Gan():
            raise TypeError("a GAN is two networks, which `build` and `build_networks` make")


def _all_weights(layer: DropConnect) -> keras.layers.Layer:
    """What a layer that drops weights is after training."""
    return keras.layers.Dense(layer.units, layer.activation)


def _apply(  # noqa: PLR0911 - one return per kind
    layer: Layer, tensor: keras.KerasTensor, random: MakeRandom, *, ids: keras.KerasTensor, tokens: int
) -> keras.KerasTensor:
    match layer:
        case Dense():
            regularizer = keras.regularizers.L2(layer.l2) if layer.l2 else None
            return keras.layers.Dense(layer.units, layer.activation, kernel_regularizer=regularizer)(_flat(tensor))
        case Conv2D():
            return keras.layers.Conv2D(
                layer.filters,
                layer.kernel_size,
                strides=layer.strides,
                padding=layer.padding,
                activation=layer.activation,
                kernel_regularizer=keras.regularizers.L2(layer.l2) if layer.l2 else None,
            )(tensor)
        case Pooling2D():
            return _POOLING[layer.kind](layer.pool_size, strides=layer.strides, padding=layer.padding)(tensor)
        case GlobalPooling2D():
            return _POOLING[layer.kind]()(tensor)
        case Flatten():
            return keras.layers.Flatten()(tensor)
        case Dropout():
            return random[0](layer.rate)(tensor)
        case DropConnect():
            return random[1](layer)(_flat(tensor))
        case LocalResponseNormalization():
            return local_response_normalization(
                tensor, radius=layer.radius, bias=layer.bias, alpha=layer.alpha, beta=layer.beta
            )
        case BatchNormalization():
            # synchronized: the moments of the global batch, so that they do not depend on the number of workers
            return keras.layers.BatchNormalization(momentum=layer.momentum, synchronized=True)(tensor)
        case Embedding() | OneHotTokens() | Recurrent():
            return over_tokens(layer, tensor, ids=ids, tokens=tokens)
        case ActivationLayer():
            return keras.layers.Activation(layer.activation)(tensor)


def _flat(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return tensor if len(tensor.shape) == 2 else keras.layers.Flatten()(tensor)


def parameter_count(model: keras.Model) -> int:
    """Number of trainable values of a model."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
