"""What simple models make of the same rows: whether a network is worth it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from headrace.components.evaluation.paired import Difference, difference
from headrace.components.evaluation.report_parts.simple_models import SimplePredictions, classify, regress
from headrace.components.evaluation.report_parts.subject import CONFIDENCE, Subject
from headrace.components.schema.labels import CategoryLabel, NextTokenLabel, NumberLabel, NumbersLabel
from headrace.components.tasks.metric_names import lower_is_better
from headrace.components.tasks.outcome_rows import category_rows, number_rows, numbers_rows
from headrace.components.tasks.row_metrics import value_of

_MOST_VALUES = 1 << 22  # of a table of training rows: of a thousand columns there are 4,194 rows
_MOST_NUMBERS = 8  # that one model predicts: of more, each would be a model of trees


@dataclass(frozen=True)
class Baseline:
    """A simple model: its metrics on the measured rows, and what the network has on it."""

    name: str
    how: str
    metrics: Mapping[str, float]
    difference: Difference | None

    @property
    def verdict(self) -> str:
        """The comparison in a sentence."""
        if self.difference is None:
            return f"There are too few rows to compare the network with {self.name}."
        (least, greatest), sure = self.difference.gain, f"{100 * CONFIDENCE:g} %"
        gain = -self.difference.value if lower_is_better(self.difference.metric) else self.difference.value
        if least > 0:
            return f"The network is better than {self.name} by {gain:.3g} ({sure} from {least:.3g} to {greatest:.3g})."
        if greatest < 0:
            low, high = -greatest, -least
            return f"The network is worse than {self.name} by {-gain:.3g} ({sure} from {low:.3g} to {high:.3g})."
        return (
            f"The network is not shown to be better or worse than {self.name}: {gain:+.3g} "
            f"({sure} from {least:+.3g} to {greatest:+.3g}, above 0 is better)."
        )


@dataclass(frozen=True)
class Baselines:
    """The network beside simple models of the same training rows, on the same measured rows."""

    name: ClassVar[str] = "baselines"
    title: ClassVar[str] = "Is a network worth it?"

    metric: str
    shown: tuple[str, ...]
    network: Mapping[str, float]
    found: tuple[Baseline, ...]
    training_rows: int

    @property
    def lower_is_better(self) -> bool:
        """Direction of the metric that decides."""
        return lower_is_better(self.metric)

    def logged(self) -> dict[str, float]:
        """Metrics by names such as baseline/gradient_boosting/accuracy, for MLflow."""
        return {
            f"baseline/{one.name.removeprefix('the ').replace(' ', '_')}/{metric}": value
            for one in self.found
            for metric, value in one.metrics.items()
        }


def baselines(subject: Subject) -> Baselines | None:
    """Fit the simple models that there are for the label; None where there is none, or nothing was held out."""
    settings = subject.settings.baselines
    if not settings.enabled or not subject.has_outcomes or not subject.held_out:
        return None
    most = min(settings.maximum_rows, max(100, _MOST_VALUES // len(subject.inputs)))
    train = subject.rows_of("train", most=most)
    keys = subject.outcomes.select(name for name in ("example_id", "group_id") if name in subject.outcomes.columns)
    found = tuple(
        _compared(subject, name, how, pl.concat([keys, rows], how="horizontal"))
        for name, how, rows in _outcomes(subject, train)
    )
    if not found:
        return None
    shown = tuple(name for name in subject.task.headline if all(name in one.metrics for one in found))[:4]
    ours = _metrics(subject, subject.outcomes, shown)
    return Baselines(subject.metric, shown, ours, found, train.height)


def _compared(subject: Subject, name: str, how: str, rows: pl.DataFrame) -> Baseline:
    found = difference(subject.task, subject.outcomes, rows, subject.metric, confidence=CONFIDENCE, draws=2_000)
    return Baseline(name, how, _metrics(subject, rows, subject.task.headline), found)


def _metrics(subject: Subject, rows: pl.DataFrame, names: tuple[str, ...]) -> dict[str, float]:
    made = subject.task.row_metrics(rows)
    values = {name: value_of(made[name](), rows.height) for name in names if name in made}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _outcomes(subject: Subject, train: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Name, method and outcomes of each simple model, as the task has them of the network."""
    label, test = subject.label, subject.measurement.rows
    match label:
        case CategoryLabel():
            for one in _of_classes(subject, label, train):
                yield one.name, one.how, category_rows(_places(test, label), one.values, label=label)
        case NumberLabel():
            truth = test[label.name].to_numpy()
            for one in _of_numbers(subject, (label.name,), train):
                yield one.name, one.how, number_rows(truth, one.values[:, 0])
        case NumbersLabel() if len(label.targets) <= _MOST_NUMBERS:
            truth = test.select(list(label.targets)).to_numpy()
            for one in _of_numbers(subject, tuple(label.targets), train):
                yield one.name, one.how, numbers_rows(truth, one.values, label=label)
        case NextTokenLabel():
            yield from _of_tokens(subject, train)


def _of_classes(subject: Subject, label: CategoryLabel, train: pl.DataFrame) -> Iterator[SimplePredictions]:
    test = subject.measurement.rows
    labels, classes = _places(train, label), len(label.classes)
    return classify(train, test, features=subject.inputs, labels=labels, classes=classes)


def _of_numbers(subject: Subject, names: tuple[str, ...], train: pl.DataFrame) -> Iterator[SimplePredictions]:
    labels = train.select(names).to_numpy().astype(np.float64)
    return regress(train, subject.measurement.rows, features=subject.inputs, labels=labels)


def _places(rows: pl.DataFrame, label: CategoryLabel) -> np.ndarray:
    places = {name: place for place, name in enumerate(label.classes)}
    return rows[label.name].replace_strict(places, return_dtype=pl.Int64).to_numpy()


def _of_tokens(subject: Subject, train: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    from headrace.components.evaluation.report_parts.token_models import predict_tokens_simply
    from headrace.components.serving_model.next_tokens import text_model
    from headrace.components.tasks.outcome_rows import token_rows
    from headrace.components.transforms.token_ids import token_ids
    from headrace.components.transforms.vocabulary import FIRST

    model = text_model(subject.measurement.model)
    known, asked = (
        token_ids(rows[subject.label.name], model.vocabulary, unit=model.unit, length=model.length + 1).astype(np.int64)
        for rows in (train, subject.measurement.rows)
    )
    for one in predict_tokens_simply(known, asked, tokens=FIRST + len(model.vocabulary)):
        yield one.name, one.how, token_rows(one.found)
