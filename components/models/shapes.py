"""Shapes through a model, without TensorFlow: one that can't be built is refused before any work."""

from collections.abc import Collection, Mapping, Sequence

from headrace.components.models.layers.any_layer import Layer
from headrace.components.models.layers.layer import all_layers
from headrace.components.models.layers.sequences import Embedding, OneHotTokens
from headrace.components.models.layers.shape import Shape, product
from headrace.components.models.settings import AlexNet, Gan, GoogLeNet, LeNet, Model, Vgg

Named = LeNet | AlexNet | Vgg | GoogLeNet


def check_input(model: Model, *, input_shape: Shape) -> None:
    """Raise ValueError where a model can't take an input of this shape, given without the batch axis.

    It names the layer that can't, or the smallest images that an architecture can take.
    """
    if model.augment is not None and len(input_shape) != 3:
        raise ValueError(
            f"train.model.augment: changes images (height, width, channels), got shape {input_shape}; leave it out"
        )
    if model.architecture is None:
        output_shape(model.layers or (), input_shape=input_shape)
        return
    if isinstance(model.architecture, Gan):
        place = "train.model.architecture"
        output_shape(model.architecture.generator, input_shape=(model.architecture.noise,), place=f"{place}.generator")
        output_shape(model.architecture.discriminator, input_shape=input_shape, place=f"{place}.discriminator")
        return
    try:
        _check_image(model.architecture, input_shape)
    except ValueError as error:
        raise ValueError(f"train.model.architecture ({model.architecture.kind}): {error}") from None


def check_text(model: Model, *, length: int, each_token: bool) -> None:
    """Raise ValueError where a model can't take the ids of `length` tokens, or does not give what is asked of it.

    `each_token`: the label needs values after each token, and not of the text as a whole.
    """
    layers = model.layers or ()
    if model.inputs is not None and each_token:
        raise ValueError("train.model.inputs: the label next_token is of one text; give layers alone")
    if model.augment is not None:
        raise ValueError("train.model.augment: changes images, and the input is a text; leave it out")
    _require_tokens(layers, place="train.model.layers")
    shape = output_shape(layers, input_shape=(length,), is_text=True)
    ahead = next((one.kind for one in all_layers(layers) if one.looks_ahead), None)
    if each_token and ahead:
        raise ValueError(
            f"train.model.layers: {ahead} sees later tokens, which the label next_token has to predict; give attention "
            "causal: true, conv1d padding: causal, or leave it out"
        )
    if each_token and (len(shape) != 2 or shape[0] != length):
        raise ValueError(
            "train.model.layers: the label next_token needs values after each token, and the last layer gives shape "
            f"{shape}; keep the sequence to the end (recurrent with return_sequences: true, no dense or flatten)"
        )


def output_shape(
    layers: Sequence[Layer], *, input_shape: Shape, is_text: bool = False, place: str = "train.model.layers"
) -> Shape:
    """Return the shape after all layers, without the batch axis; None stands for a size not yet known.

    Raises ValueError that names the layer, by place and kind, which can't take what the one before it gives.
    """
    shape = input_shape
    for number, layer in enumerate(layers):
        try:
            if number or not is_text or layer.inner:
                _refuse_tokens(layer)
            shape = layer.shape_after(shape)
        except ValueError as error:
            raise ValueError(f"{place}.{number} ({layer.kind}): {error}") from None
    return shape


def check_inputs(model: Model, *, shapes: Mapping[str, Shape], texts: Collection[str]) -> None:
    """Raise ValueError where the layers over several inputs can't take them, or those after them what these give.

    `shapes` are those of the inputs by name, `texts` the names of those that are texts.
    """
    if model.augment is not None and not any(len(shape) == 3 for shape in shapes.values()):
        raise ValueError("train.model.augment: changes images, and no input is one; leave it out")
    widths: list[int | None] = []
    for name, layers in model.branches.items():
        place = f"train.model.inputs.{name}"
        if name in texts:
            _require_tokens(layers, place=place)
        widths.append(product(output_shape(layers, input_shape=shapes[name], is_text=name in texts, place=place)))
    joined = None if None in widths else sum(width for width in widths if width)
    output_shape(model.layers or (), input_shape=(joined,))


def _require_tokens(layers: Sequence[Layer], *, place: str) -> None:
    if not layers or not isinstance(layers[0], Embedding | OneHotTokens):
        raise ValueError(f"{place}: the first layer over a text must be embedding or one_hot")


def _refuse_tokens(layer: Layer) -> None:
    if any(isinstance(one, Embedding | OneHotTokens) for one in all_layers([layer])):
        raise ValueError("takes the tokens of a text, so only the first layer over a text can be one")


def _check_image(architecture: Named, shape: Shape) -> None:
    if len(shape) != 3:
        raise ValueError(f"needs an image (height, width, channels), got shape {shape}; give layers instead")
    height, width, smallest = shape[0] or 0, shape[1] or 0, architecture.smallest_input
    if min(height, width) < smallest:
        heads = isinstance(architecture, GoogLeNet) and architecture.auxiliary_heads
        raise ValueError(
            f"needs images of at least {smallest} x {smallest} pixels, got {height} x {width}; give larger images"
            f"{', set auxiliary_heads: false' if heads else ''} or choose another architecture"
        )
