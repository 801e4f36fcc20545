"""What a layer of params.yaml is: its settings, the shape that it gives, and the Keras layer that it becomes.

Keras is imported within methods: Airflow reads the settings.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from headrace.components.models.layers.shape import Shape
from headrace.components.schema.settings import Settings
from headrace.components.transforms.vocabulary import PADDING

if TYPE_CHECKING:
    import keras

Activation = Literal[
    "linear", "relu", "leaky_relu", "gelu", "silu", "elu", "selu", "tanh", "sigmoid", "softplus", "softmax"
]
Positive = Annotated[int, Field(ge=1, le=65_536)]
WindowSize = Annotated[int, Field(ge=1, le=64)]
LayerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


@dataclass(frozen=True)
class Surroundings:
    """What a layer is made with, besides the tensor that the one before gives.

    `dropout` makes a layer without weights from a rate, `drop_connect` one with those of `keras.layers.Dense` from its
    settings. `ids`, float32[batch, length] below `tokens`, are the text whose tokens the places of a sequence are; None
    where they are none.
    """

    dropout: "Callable[[float], keras.layers.Layer]"
    drop_connect: "Callable[[Any], keras.layers.Layer]"
    ids: "keras.KerasTensor | None" = None
    tokens: int = 0

    @property
    def is_token(self) -> "keras.KerasTensor | None":
        """bool[batch, length], False for padding; the first place counts always, or an empty text would have none."""
        from keras import ops

        if self.ids is None:
            return None
        known = ops.not_equal(self.ids, float(PADDING))
        return ops.concatenate([ops.ones_like(known[:, :1]), known[:, 1:]], axis=1)


class LayerSettings(Settings):
    """A layer, or several that are joined."""

    kind: str

    @property
    def keeps_places(self) -> bool:
        """Whether each place of a sequence that comes out belongs to the same place of what goes in."""
        return True

    @property
    def looks_ahead(self) -> bool:
        """Whether what comes out at one place of a sequence depends on later places."""
        return False

    @property
    def inner(self) -> "Sequence[LayerSettings]":
        """Layers within this one."""
        return ()

    @property
    def layer_name(self) -> str | None:
        """Name by which `train.optimizer.rates` finds the layer's weights."""
        return None

    def shape_after(self, shape: Shape) -> Shape:
        """Shape of what comes out; raise ValueError, without place, for what the layer can't take."""
        return shape

    @abstractmethod
    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """What comes out for the tensor; its weights are made in a fixed order."""


class WeightedLayer(LayerSettings):
    """A layer with weights of its own, which may have a name."""

    name: LayerName | None = None
    """Name of the layer, for `train.optimizer.rates`; each is used once. It decides nothing else."""

    @property
    def layer_name(self) -> str | None:
        """The name that params.yaml gives."""
        return self.name


def apply_layers(
    layers: Sequence[LayerSettings], tensor: "keras.KerasTensor", around: Surroundings
) -> "keras.KerasTensor":
    """What comes out of the last layer."""
    for layer in layers:
        tensor = layer.keras_form(tensor, around)
        if not layer.keeps_places:
            around = replace(around, ids=None)
    return tensor


def keep_places(layers: Sequence[LayerSettings]) -> bool:
    """Whether all of the layers keep the places of a sequence."""
    return all(layer.keeps_places for layer in layers)


def all_layers(layers: Sequence[LayerSettings]) -> list[LayerSettings]:
    """The layers, and those within them."""
    return [one for layer in layers for one in (layer, *all_layers(layer.inner))]


def flat(tensor: "keras.KerasTensor") -> "keras.KerasTensor":
    """float32[batch, values] of a tensor of any shape."""
    import keras

    return tensor if len(tensor.shape) == 2 else keras.layers.Flatten()(tensor)


def l2_penalty(factor: float) -> "keras.regularizers.L2 | None":
    """The penalty of squared weights; None without one."""
    import keras

    return keras.regularizers.L2(factor) if factor else None
