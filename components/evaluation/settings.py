"""How far data may drift, what is looked at of a model, and what it must reach."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from headrace.components.settings import Settings

Bound = Annotated[float, Field(ge=0)]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Limits(Settings):
    """The largest value of each measure that is let through; a measure without a limit lets everything through."""

    columns: Bound | None = None  # columns added, removed or of another type
    rows: Annotated[float, Field(ge=1)] | None = None  # how many times as many rows as before, or as few
    missing: Bound | None = None  # change of the share of missing values
    mean: Bound | None = None  # in standard deviations
    quantile: Bound | None = None  # of the decile that moved most, in standard deviations
    psi: Bound | None = None  # population stability index of a feature
    label_psi: Bound | None = None  # and of the label
    new_categories: Bound | None = None  # share of values that did not occur before


class WarnLimits(Limits):
    """From where on a change is worth a look. A PSI of 0.1 is commonly called small, one of 0.25 large."""

    columns: Bound | None = 0
    rows: Annotated[float, Field(ge=1)] | None = 2
    missing: Bound | None = 0.1
    mean: Bound | None = 0.5
    quantile: Bound | None = 1
    psi: Bound | None = 0.25
    label_psi: Bound | None = 0.1
    new_categories: Bound | None = 0.01


class DriftLimits(Settings):
    """From where on drift is told (`warn`), and from where on it stops the stage (`fail`)."""

    warn: WarnLimits = WarnLimits()
    fail: Limits = Limits()


class JudgeSettings(Settings):
    """What judges generated images: a small network that is trained to tell the classes of real ones, named by `by`.

    It is trained on at most `examples` training rows for `epochs` epochs, and shown `samples` images. An image is named
    where the judge gives one class a probability of `confidence` or more.
    """

    by: str
    examples: Annotated[int, Field(ge=1)] = 60_000
    epochs: Annotated[int, Field(ge=1, le=1000)] = 4
    samples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Evaluate(Settings):
    """What the report shows, and what else the model is asked.

    `points` are inputs by the names of the metrics that the predictions for them become. A `judge` is for images that
    are generated.
    """

    judge: JudgeSettings | None = None
    worst_examples: Annotated[int, Field(ge=0, le=100)] = 12
    random_examples: Annotated[int, Field(ge=0, le=100)] = 12
    points: dict[MetricName, dict[str, int | float | str | None]] = Field(default={})


class Threshold(Settings):
    """The range a metric must be in."""

    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("give minimum, maximum or both")
        return self


class Register(Settings):
    """What a model must reach to become champion: every threshold, and a better `compare_by` than the present one's."""

    thresholds: dict[str, Threshold]
    compare_by: str


class Comparison(Settings):
    """A place of the pipeline's section, and the values that are tried there, its own among them."""

    place: str
    values: Annotated[tuple[int | float | str, ...], Field(min_length=1)]


class Results(Settings):
    """How `headrace results` measures the pipeline: with each of `seeds` or, instead, on each of `folds` folds.

    With `compare`, each is also done with other values, for a table and a picture of the errors. `reach` is what the
    means must reach, by the names of metrics and of the best epoch's figures (`training_loss`); without it, it is what
    `register.thresholds` says.
    """

    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)] = (1, 2, 3)
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    compare: Comparison | None = None
    reach: dict[str, Threshold] = Field(default={})
