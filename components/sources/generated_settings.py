"""What a source of generated points is made of."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.settings import Settings


class NormalX(Settings):
    """Drawn from a normal distribution."""

    kind: Literal["normal"] = "normal"
    mean: float = 0.0
    """Mean of the distribution."""

    standard_deviation: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of the distribution."""


class _RangeX(Settings):
    """From `minimum` to `maximum`."""

    minimum: float
    """Lower end of the range; the first point of kind `even`."""

    maximum: float
    """Upper end of the range; the last point of kind `even`, whose points have equal distances."""

    @model_validator(mode="after")
    def _minimum_is_below_maximum(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is not below maximum {self.maximum:g}")
        return self


class UniformX(_RangeX):
    """Drawn from a range, each place of it as likely as any other."""

    kind: Literal["uniform"] = "uniform"


class EvenX(_RangeX):
    """At equal distances over a range, both ends included: nothing is drawn."""

    kind: Literal["even"] = "even"


X = Annotated[NormalX | UniformX | EvenX, Field(discriminator="kind")]


class GeneratedPart(Settings):
    """Points of the function, normal noise of this standard deviation added, and the split that they are given."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """Number of points. A larger count keeps the points that a smaller one draws."""

    x: X
    """Distribution of `x`; its `kind` decides the keys."""

    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the normal noise that is added to `y`."""

    given_split: Literal["train", "test"] | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class GeneratedSource(Settings):
    """Points `x`, `y` of a function of `frequency * x`, made from a seed: nothing to fetch."""

    kind: Literal["generated"] = "generated"
    function: Literal["sine", "cosine"]
    """The function of `frequency` times `x` that gives `y`."""

    frequency: Annotated[float, Field(gt=0)] = 1.0
    """Factor of `x`."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the points: another seed gives other points."""

    parts: Annotated[tuple[GeneratedPart, ...], Field(min_length=1)]
    """Sets of points, one after the other."""
