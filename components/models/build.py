"""Keras models from a list of layers, or from an architecture's name."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import keras

from headrace.components.models.alexnet import alexnet
from headrace.components.models.gan import AdversarialNetworks, Noise, Over, discriminator, generator
from headrace.components.models.googlenet import googlenet
from headrace.components.models.heads import WithAuxiliaryHeads
from headrace.components.models.layers.any_layer import Layer
from headrace.components.models.layers.basic import DropConnect
from headrace.components.models.layers.layer import Surroundings, apply_layers, flat
from headrace.components.models.lenet import lenet
from headrace.components.models.named_inputs import InputGroup
from headrace.components.models.output import Output
from headrace.components.models.settings import AlexNet, Architecture, Gan, GoogLeNet, LeNet, Model, Vgg
from headrace.components.models.vgg import vgg

Shape = Sequence[int]
MakeDropout = Callable[[float], keras.layers.Layer]
MakeDropConnect = Callable[[DropConnect], keras.layers.Layer]


def build(
    model: Model,
    *,
    input_shape: Shape = (),
    output: Output,
    tokens: int | None = None,
    groups: Mapping[str, InputGroup] | None = None,
) -> keras.Model:
    """A model from float32[batch, *input_shape] to float32[batch, units], or float32[batch, length, units] per token.

    The last layer has no activation: a loss takes logits, and `with_probabilities` adds a softmax to the model that is
    saved. `tokens` counts the ids of a text. With several inputs, `groups`, it takes a dict of them instead.
    This is the model to save: it is made of stock layers and has no auxiliary heads. Its weights are the first of those
    of `build_for_training`, in the same order. Of a GAN it is the generator, from noise float32[batch, noise] to images
    float32[batch, *input_shape].
    """
    if isinstance(model.architecture, Gan):
        over = _over(_SAVED)
        return generator(model.architecture, image_shape=input_shape, over=over, classes=output.units)
    if groups is not None and model.inputs is not None:
        return _of_several_inputs(model, groups, output, _SAVED, first=None)
    inputs = _inputs(input_shape)
    outputs = _connected(model, inputs, output, _text(_SAVED, inputs, tokens))
    return keras.Model(inputs, outputs[0], name="core")


def build_for_training(  # noqa: PLR0913 - each by its keyword
    model: Model,
    *,
    input_shape: Shape = (),
    output: Output,
    tokens: int | None = None,
    groups: Mapping[str, InputGroup] | None = None,
    dropout: MakeDropout,
    drop_connect: MakeDropConnect,
    first: keras.layers.Layer | None = None,
) -> keras.Model:
    """Return the same model with auxiliary heads, where it has such, and with layers that draw at random.

    `dropout` makes a layer without weights from a rate, `drop_connect` one with those of `keras.layers.Dense`; `first`,
    without weights, comes before all others, of several inputs before those of each image.
    """
    around = Surroundings(dropout, drop_connect)
    if groups is not None and model.inputs is not None:
        return _of_several_inputs(model, groups, output, around, first=first)
    inputs = _inputs(input_shape)
    given = inputs if first is None else first(inputs)
    outputs = _connected(model, given, output, _text(around, inputs, tokens))
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
    over = _over(Surroundings(dropout, drop_connect))
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


def _of_several_inputs(
    model: Model,
    groups: Mapping[str, InputGroup],
    output: Output,
    around: Surroundings,
    *,
    first: keras.layers.Layer | None,
) -> keras.Model:
    """A model of a dict of inputs: what the layers of each give, side by side, then the layers after them."""
    inputs = {name: keras.Input(group.shape, dtype="float32", name=name) for name, group in groups.items()}
    ends = []
    for name, layers in model.branches.items():
        given = inputs[name]
        tensor = given if first is None or len(groups[name].shape) != 3 else first(given)
        ends.append(flat(apply_layers(layers, tensor, _text(around, given, groups[name].tokens))))
    tensor = apply_layers(model.layers or (), keras.layers.Concatenate(name="joined")(ends), around)
    return keras.Model(
        inputs, keras.layers.Dense(output.units, dtype="float32", name="output")(flat(tensor)), name="core"
    )


def _text(around: Surroundings, inputs: keras.KerasTensor, tokens: int | None) -> Surroundings:
    return replace(around, ids=inputs, tokens=tokens) if tokens else around


def _connected(
    model: Model, inputs: keras.KerasTensor, output: Output, around: Surroundings
) -> list[keras.KerasTensor]:
    """All outputs: the model's own first, then those of its heads."""
    if model.architecture is not None:
        tensor, heads = _architecture(model.architecture, inputs, around.dropout)
    else:
        tensor, heads = apply_layers(model.layers or (), inputs, around), []
    if output.per_token:
        return [keras.layers.Dense(output.units, dtype="float32", name="output")(tensor)]
    names = ["output", *(f"auxiliary_{place}_output" for place in range(1, len(heads) + 1))]
    # float32 whatever the precision of the layers: softmax and losses overflow in half precision.
    return [
        keras.layers.Dense(output.units, dtype="float32", name=name)(flat(end))
        for name, end in zip(names, [tensor, *heads], strict=True)
    ]


def _over(around: Surroundings) -> Over:
    def over(layers: Sequence[Layer], tensor: keras.KerasTensor) -> keras.KerasTensor:
        return apply_layers(layers, tensor, around)

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
    return keras.layers.Dense(layer.units, layer.activation, name=layer.name)


_SAVED = Surroundings(dropout=keras.layers.Dropout, drop_connect=_all_weights)


def parameter_count(model: keras.Model) -> int:
    """Number of trainable values of a model."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
