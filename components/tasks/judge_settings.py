"""How generated images are judged."""

from typing import Annotated

from pydantic import Field

from headrace.components.schema.settings import Settings


class JudgeSettings(Settings):
    """A small classifier, trained on real images, that judges generated ones."""

    by: str
    """A category of `ingest.features` with `classes`, never missing, that the judge learns to predict."""

    examples: Annotated[int, Field(ge=1)] = 60_000
    """Largest number of training rows that it is trained on."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 4
    """Number of epochs that it is trained for."""

    samples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Number of generated images that it judges."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Least probability of a class for which the image counts as named."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of its weights, of the order of examples and of the noise of the images."""
