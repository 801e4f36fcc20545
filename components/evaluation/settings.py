"""How far data may drift, what is looked at of a model, and what it must reach."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from headrace.components.schema.settings import Settings
from headrace.components.tasks.judge_settings import JudgeSettings

Bound = Annotated[float, Field(ge=0)]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Limits(Settings):
    """The largest value of each measure that passes; a measure without a limit always passes."""

    columns: Bound | None = None
    """Number of columns added, removed or of another type."""

    rows: Annotated[float, Field(ge=1)] | None = None
    """Factor by which the number of rows has grown or shrunk."""

    missing: Bound | None = None
    """Change of the share of missing values."""

    mean: Bound | None = None
    """Change of the mean, in standard deviations."""

    quantile: Bound | None = None
    """Change of the decile that moved most, in standard deviations."""

    psi: Bound | None = None
    """Population stability index of a feature; 0.1 is commonly called small, 0.25 large."""

    label_psi: Bound | None = None
    """Population stability index of the label."""

    new_categories: Bound | None = None
    """Share of values that did not occur before."""


class WarnLimits(Limits):
    """Limits above which a change is worth a warning."""

    columns: Bound | None = 0
    rows: Annotated[float, Field(ge=1)] | None = 2
    missing: Bound | None = 0.1
    mean: Bound | None = 0.5
    quantile: Bound | None = 1
    psi: Bound | None = 0.25
    label_psi: Bound | None = 0.1
    new_categories: Bound | None = 0.01


class DriftLimits(Settings):
    """Limits of drift: above which it is reported, and above which it stops the stage."""

    warn: WarnLimits = WarnLimits()
    """Limits above which the log and the report have a warning."""

    fail: Limits = Limits()
    """Limits above which ingest stops, and the version before stays."""


class Evaluate(Settings):
    """What the report shows, and additional predictions."""

    judge: JudgeSettings | None = None
    """The classifier that judges generated images; required for them."""

    worst_examples: Annotated[int, Field(ge=0, le=100)] = 12
    """Number of the test examples with the highest loss or error in the report."""

    random_examples: Annotated[int, Field(ge=0, le=100)] = 12
    """Number of examples in the report that are drawn at random from the split that the model is measured on."""

    points: dict[MetricName, dict[str, int | float | str | None]] = Field(default={})
    """Inputs of additional predictions, by the names of the metrics that these become. For a number label only."""


class Threshold(Settings):
    """The range a metric must be in."""

    minimum: float | None = None
    """The lowest value that passes. At least one of minimum and maximum must be given."""

    maximum: float | None = None
    """The highest value that passes."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("give minimum, maximum or both")
        return self


class Register(Settings):
    """What a model must reach to become champion: every threshold, and a better `compare_by` than the present one's."""

    thresholds: dict[str, Threshold]
    """The range that each named metric must have on the test split. May be empty."""

    compare_by: str
    """The metric that must be strictly better than the champion's on the same test split. Lower is better for `loss`,
    `cross_entropy`, `perplexity` and names that end with `error`.
    """


class Comparison(Settings):
    """A setting of the pipeline, and the values that are compared for it."""

    place: str
    """A setting by its place in the pipeline's section, such as `normalize.transforms.x.1.degree`."""

    values: Annotated[tuple[int | float | str, ...], Field(min_length=1)]
    """The values that it takes, its own among them."""


class Results(Settings):
    """How `headrace results` measures the pipeline: with several seeds or, instead, on several folds."""

    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)] = (1, 2, 3)
    """The pipeline is trained with each of these as `train.seed`."""

    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Train and test with `split.fold` 0, 1 and so on instead; `split.test_fraction` must be 1 / `folds`."""

    compare: Comparison | None = None
    """Other values of one setting, each measured in the same way, for a table and a picture of the errors."""

    reach: dict[str, Threshold] = Field(default={})
    """What the means must reach: metrics, points, and metrics of the best epoch with `training_` or `validation_` in
    front. Without it, `register.thresholds` applies.
    """
