"""Layers that normalize what others give."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from headrace.components.models.layers.layer import LayerSettings, Surroundings, WeightedLayer
from headrace.components.models.layers.shape import Shape

if TYPE_CHECKING:
    import keras

Epsilon = Annotated[float, Field(gt=0, le=1)]


class BatchNormalization(WeightedLayer):
    """Normalizes by the statistics of the global batch, all workers together (Ioffe and Szegedy, 2015)."""

    kind: Literal["batch_normalization"] = "batch_normalization"
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the moving averages that each step keeps; they are used after training."""

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.BatchNormalization."""
        import keras

        # synchronized: the moments of the global batch, so that they do not depend on the number of workers
        return keras.layers.BatchNormalization(momentum=self.momentum, synchronized=True, name=self.name)(tensor)


class LayerNormalization(WeightedLayer):
    """Normalizes each example, or each place of a sequence or image, over its last axis (Ba et al., 2016)."""

    kind: Literal["layer_normalization"] = "layer_normalization"
    epsilon: Epsilon = 0.001
    """What is added to the variance; PyTorch's is 0.00001."""

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.LayerNormalization."""
        import keras

        return keras.layers.LayerNormalization(epsilon=self.epsilon, name=self.name)(tensor)


class GroupNormalization(WeightedLayer):
    """Normalizes each example over groups of its channels, and all places of them (Wu and He, 2018)."""

    kind: Literal["group_normalization"] = "group_normalization"
    groups: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Number of groups; the channels must be a multiple of it. 1: all channels together."""

    epsilon: Epsilon = 0.001
    """What is added to the variance; PyTorch's is 0.00001."""

    @property
    def looks_ahead(self) -> bool:
        """Its moments are of all places."""
        return True

    def shape_after(self, shape: Shape) -> Shape:
        """The same, if its channels are a multiple of the groups."""
        if (channels := shape[-1]) is not None and channels % self.groups:
            raise ValueError(f"{channels} channels can't be dealt to {self.groups} groups; give a divisor as groups")
        return shape

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.GroupNormalization."""
        import keras

        return keras.layers.GroupNormalization(self.groups, epsilon=self.epsilon, name=self.name)(tensor)


class LocalResponseNormalization(LayerSettings):
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

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """Stock operations."""
        from headrace.components.models.normalization import local_response_normalization

        return local_response_normalization(
            tensor, radius=self.radius, bias=self.bias, alpha=self.alpha, beta=self.beta
        )
