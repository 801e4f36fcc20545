"""What a source of generated points is made of."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.settings import Settings


class NormalX(Settings):
    """Drawn from a normal distribution."""

    kind: Literal["normal"] = "normal"
    mean: float = 0.0
    standard_deviation: Annotated[float, Field(gt=0)] = 1.0


class _RangeX(Settings):
    """From `minimum` to `maximum`."""

    minimum: float
    maximum: float

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
    x: X
    noise: Annotated[float, Field(ge=0)] = 0.0
    given_split: Literal["train", "test"] | None = None


class GeneratedSource(Settings):
    """Points `x`, `y` of a function of `frequency * x`, made from a seed: nothing to fetch."""

    kind: Literal["generated"] = "generated"
    function: Literal["sine", "cosine"]
    frequency: Annotated[float, Field(gt=0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    parts: Annotated[tuple[GeneratedPart, ...], Field(min_length=1)]
