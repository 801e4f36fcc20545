"""How far data may drift, what is looked at of a model, and what it must reach."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.settings import Settings
from headrace.components.tasks.judge_settings import JudgeSettings

Bound = Annotated[float, Field(ge=0)]
Confidence = Annotated[float, Field(ge=0.5, le=0.9999)]
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


class BaselineSettings(Settings):
    """Simple models that the report compares the network with, on the same rows."""

    enabled: bool = True
    """Whether they are fitted: the most frequent class or the mean, logistic or linear regression and, of tables,
    scikit-learn's HistGradientBoosting.
    """

    maximum_rows: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Training rows that they are fitted to at most, drawn by id. The network has seen all of them."""


class MistakeCosts(Settings):
    """What mistakes cost where there are two classes, in any unit. The second class is the positive one."""

    false_positive_cost: Annotated[float, Field(ge=0)] = 1
    """Cost of a negative row that is taken for a positive one."""

    false_negative_cost: Annotated[float, Field(ge=0)] = 1
    """Cost of a positive row that is missed."""


class ImportanceSettings(Settings):
    """How permutation importance is measured."""

    repeats: Annotated[int, Field(ge=0, le=50)] = 5
    """How often each column is dealt at random; 0 leaves the part out."""

    maximum_rows: Annotated[int, Field(ge=20, le=100_000)] = 500
    """Measured rows that it is measured on at most, drawn by id."""


class Evaluate(Settings):
    """What the report shows, and additional predictions."""

    judge: JudgeSettings | None = None
    """The classifier that judges generated images; required for them."""

    worst_examples: Annotated[int, Field(ge=0, le=100)] = 12
    """Number of the test examples with the highest loss or error in the report."""

    random_examples: Annotated[int, Field(ge=0, le=100)] = 12
    """Number of examples in the report that are drawn at random from the split that the model is measured on."""

    baselines: BaselineSettings = BaselineSettings()
    """Simple models beside the network."""

    threshold: MistakeCosts = MistakeCosts()
    """Costs by which the report chooses a threshold of two classes. Predictions stay the most probable class."""

    importance: ImportanceSettings = ImportanceSettings()
    """How much each column matters."""

    attributions: Annotated[int, Field(ge=0, le=50)] = 6
    """Number of examples of images or texts for which the report shows what speaks for the prediction. Of large images
    it is fewer.
    """

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


class Compare(Settings):
    """How a model is compared with the champion: on the same rows of the test split, which neither was trained on."""

    metric: str
    """The metric that must be better than the champion's. Lower is better for `cross_entropy`, `perplexity`, `brier`
    and names that end with `loss` or `error`.
    """

    minimum_improvement: Bound = 0
    """By how much it must be better, in the metric's unit."""

    confidence: Confidence = 0.95
    """Confidence of the interval of the difference, over all of which the model must be better. Half of what is missing
    to 1 is the chance that a model that is only as good is promoted: one in 40 for 0.95.
    """

    when_unsure: Literal["keep", "newer"] = "keep"
    """What happens where the interval has both: `keep` leaves the champion, `newer` takes the new model unless it is
    shown to be worse.
    """


class Guard(Settings):
    """A metric that must not be worse than the champion's."""

    worse_by: Bound = 0
    """By how much it may be worse, in the metric's unit."""

    when_unsure: Literal["pass", "refuse"] = "pass"
    """`pass` refuses a model only where it is shown to be worse by more, `refuse` unless it is shown not to be."""


class Slice(Settings):
    """Parts of the test split, by the values of categories, that are judged on their own."""

    by: Annotated[str, Field(min_length=1)] | Annotated[tuple[str, ...], Field(min_length=1, max_length=4)]
    """A category of `ingest.features`, or several: each combination of their values is a part."""

    minimum_rows: Annotated[int, Field(ge=1)] = 30
    """Parts with fewer rows are not judged."""

    thresholds: dict[str, Threshold] = Field(default={})
    """Ranges of metrics. A part fails where a metric is shown to be outside: over its whole interval."""

    guards: dict[str, Guard] = Field(default={})
    """Metrics that must not be worse than the champion's in any part."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The categories."""
        return (self.by,) if isinstance(self.by, str) else self.by


class Budget(Settings):
    """What a model may cost who serves it."""

    model_bytes: Annotated[int, Field(ge=1)] | None = None
    """Largest size of model.keras."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Longest time for one row in milliseconds, on the machine that registers: the median of 50 predictions of one test
    row each, after 5 that don't count.
    """


class Register(Settings):
    """What a model must reach to become champion: every threshold, and evidence that it is better than the present one.

    Guards and slices are many tests of one model. The chance that any of them refuses a model that is as good as the
    champion is at most 1 - `compare.confidence`: the interval of each has that divided by their number (Bonferroni).
    """

    thresholds: dict[str, Threshold]
    """The range that each named metric must have on the test split. May be empty."""

    compare: Compare
    """How the model is compared with the champion. `compare_by: METRIC`, as in Headrace 0.1, is `{metric: METRIC}`."""

    guards: dict[str, Guard] = Field(default={})
    """Other metrics that must not be worse than the champion's."""

    slices: tuple[Slice, ...] = ()
    """Parts of the test split that are judged on their own."""

    budget: Budget = Budget()
    """What the model may cost who serves it."""

    failing_champion: Literal["warn", "demote"] = "warn"
    """What happens to a champion that does not meet `thresholds`, raised since or on other rows: `warn` says so,
    `demote` takes the alias from it, even if there is no other.
    """

    decisions_per_test_set: Annotated[int, Field(ge=1)] = 20
    """Number of decisions on one test set above which register warns: each makes it a little more of a training set.
    `split.test_generation` takes another.
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
