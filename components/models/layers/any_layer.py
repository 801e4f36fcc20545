"""All kinds of layers: a new one is a class in a module of this folder, and a line at the end of this one.

Those that hold other layers, residuals and parallel branches, are here, because they may hold any.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from headrace.components.models.layers.basic import ActivationLayer, Dense, DropConnect, Dropout, Flatten, Reshape
from headrace.components.models.layers.convolutions import (
    Conv1D,
    Conv2D,
    SeparableConvolution,
    TransposedConvolution,
)
from headrace.components.models.layers.layer import LayerSettings, Surroundings, apply_layers, keep_places
from headrace.components.models.layers.normalizations import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    LocalResponseNormalization,
)
from headrace.components.models.layers.pooling import GlobalPooling1D, GlobalPooling2D, Pooling1D, Pooling2D
from headrace.components.models.layers.sequences import (
    Attention,
    Embedding,
    OneHotTokens,
    PositionEmbedding,
    Recurrent,
)
from headrace.components.models.layers.shape import Shape

if TYPE_CHECKING:
    import keras


class Residual(LayerSettings):
    """Adds what goes in to what comes out of its layers, which must have the same shape (He et al., 2016)."""

    kind: Literal["residual"] = "residual"
    layers: Annotated[tuple["Layer", ...], Field(min_length=1)]
    """The layers, one after the other."""

    @property
    def inner(self) -> "tuple[Layer, ...]":
        """Its layers."""
        return self.layers

    @property
    def keeps_places(self) -> bool:
        """If its layers do."""
        return keep_places(self.layers)

    @property
    def looks_ahead(self) -> bool:
        """Its layers say it themselves."""
        return False

    def shape_after(self, shape: Shape) -> Shape:
        """The same."""
        after = shape_through(self.layers, shape)
        _require_same([shape, after])
        return shape

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Add."""
        import keras

        return keras.layers.Add()([tensor, apply_layers(self.layers, tensor, around)])


class Parallel(LayerSettings):
    """Several lists of layers over the same input, whose outputs are joined; an empty list is the input itself."""

    kind: Literal["parallel"] = "parallel"
    branches: Annotated[tuple[tuple["Layer", ...], ...], Field(min_length=2)]
    """The lists of layers."""

    join: Literal["concatenate", "add"] = "concatenate"
    """How the outputs become one: side by side along the last axis, or added up."""

    @property
    def inner(self) -> "tuple[Layer, ...]":
        """The layers of all branches."""
        return tuple(layer for branch in self.branches for layer in branch)

    @property
    def keeps_places(self) -> bool:
        """If all layers do."""
        return keep_places(self.inner)

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of the branches, whose last axes add up where they are concatenated."""
        after = []
        for number, branch in enumerate(self.branches):
            after.append(shape_through(branch, shape, place=f"branches.{number}"))
        if self.join == "add":
            _require_same(after)
            return after[0]
        if any(one[:-1] != after[0][:-1] for one in after):
            raise ValueError(f"branches of shapes {_shown(after)} differ in more than the last axis")
        last = [one[-1] for one in after]
        return (*after[0][:-1], None if None in last else sum(size for size in last if size))

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Concatenate or Add."""
        import keras

        outputs = [apply_layers(branch, tensor, around) for branch in self.branches]
        return (keras.layers.Add if self.join == "add" else keras.layers.Concatenate)()(outputs)


def shape_through(layers: "tuple[Layer, ...]", shape: Shape, *, place: str = "layers") -> Shape:
    """Shape after all layers; raise ValueError that names the layer which can't take what the one before it gives."""
    for number, layer in enumerate(layers):
        try:
            shape = layer.shape_after(shape)
        except ValueError as error:
            raise ValueError(f"{place}.{number} ({layer.kind}): {error}") from None
    return shape


def _require_same(shapes: list[Shape]) -> None:
    if any(one != shapes[0] for one in shapes):
        raise ValueError(f"what is added must have one shape, found {_shown(shapes)}")


def _shown(shapes: list[Shape]) -> str:
    return " and ".join(str(one) for one in dict.fromkeys(shapes))


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
    | ActivationLayer
    | LayerNormalization
    | GroupNormalization
    | Attention
    | PositionEmbedding
    | Conv1D
    | SeparableConvolution
    | TransposedConvolution
    | Pooling1D
    | GlobalPooling1D
    | Reshape
    | Residual
    | Parallel,
    Field(discriminator="kind"),
]
Residual.model_rebuild()
Parallel.model_rebuild()
