"""How far what a model meets after deployment may be from its training, and what it must still reach."""

from typing import Annotated

from pydantic import Field

from headrace.components.evaluation.settings import Bound, Confidence, Guard, Limits, Slice, Threshold
from headrace.components.schema.settings import Settings


class MonitorLimits(Limits):
    """The largest value of each measure that passes; a measure without a limit always passes."""

    columns: None = None
    """Always `null`: predictions have the columns that the model takes."""

    rows: None = None
    """Always `null`: there are as many predictions as there is demand."""

    prediction_psi: Bound | None = None
    """Population stability index of predictions and of the probability of the predicted class, against those of the
    rows that the version was measured on.
    """


class MonitorWarnLimits(MonitorLimits):
    """Limits above which a change is worth a warning."""

    missing: Bound | None = 0.05
    mean: Bound | None = 0.25
    psi: Bound | None = 0.1
    label_psi: Bound | None = 0.1
    prediction_psi: Bound | None = 0.1
    new_categories: Bound | None = 0.01


class MonitorAlertLimits(MonitorLimits):
    """Limits above which a change is an alert."""

    missing: Bound | None = 0.1
    psi: Bound | None = 0.25
    label_psi: Bound | None = 0.25
    prediction_psi: Bound | None = 0.25
    new_categories: Bound | None = 0.05


class MonitorDrift(Settings):
    """Limits of drift from the training rows: above which it is reported, and above which it is an alert."""

    warn: MonitorWarnLimits = MonitorWarnLimits()
    """Limits above which a line is a warning."""

    alert: MonitorAlertLimits = MonitorAlertLimits()
    """Limits above which a line is an alert, and the exit code 3."""


class Monitor(Settings):
    """What `headrace monitor` alerts of: drift, and metrics of predictions whose labels are known.

    Many looks at one sample would find something by chance. A limit counts only where the value is also more than
    chance makes of so few rows, and all looks together have `confidence`: each has its share (Bonferroni).
    """

    drift: MonitorDrift = MonitorDrift()
    """How far inputs, predictions and labels may be from those of training."""

    thresholds: dict[str, Threshold] = Field(default={})
    """Ranges of metrics. An alert where a metric is shown to be outside: over its whole interval."""

    guards: dict[str, Guard] | None = None
    """Metrics that must not be worse than those of the version when it was registered; `null` takes that of
    `register.compare`, `{}` none.
    """

    slices: tuple[Slice, ...] = ()
    """Parts of the predictions, by categories that the model takes, that are judged on their own."""

    confidence: Confidence = 0.95
    """Confidence of all looks together: the chance of an alert where nothing has changed is what is missing to 1."""

    minimum_rows: Annotated[int, Field(ge=1)] = 100
    """With fewer predictions there is no alert of drift, with fewer labels none of a metric."""
