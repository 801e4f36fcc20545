"""What the parts of a report are made from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from headrace.components.evaluation.settings import Evaluate
from headrace.components.examples.splits import assign_split
from headrace.components.mixing import mix
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label
from headrace.components.tasks.metric_names import lower_is_better
from headrace.components.tasks.task import Measurement, Task
from headrace.components.tasks.variants import task_of

CONFIDENCE = 0.95  # of every interval on the page
_MOST_VALUES = 1 << 24  # pixels and tokens of the rows that are drawn from a split
_DRAW_SEED = 0xBA5E


@dataclass(frozen=True)
class Subject:
    """A model, the rows that it was measured on, and what it made of them.

    `outcomes` has a row for each of `measurement.rows`, in their order, with example_id and the categories to slice by.
    """

    label: Label
    measurement: Measurement
    outcomes: pl.DataFrame
    settings: Evaluate

    @cached_property
    def task(self) -> Task:
        """What the model has learned."""
        return task_of(self.label)

    @property
    def has_outcomes(self) -> bool:
        """Whether rows were predicted: images that are made of noise are outcomes of none."""
        return "loss" in self.outcomes.columns

    @property
    def held_out(self) -> bool:
        """Whether the measured rows are others than those for training."""
        return self.measurement.split.held_out != "none"

    @property
    def inputs(self) -> dict[str, Feature]:
        """Features that the model takes."""
        return self.measurement.inputs

    @property
    def metric(self) -> str:
        """The metric that parts compare by: the first of the report's headline."""
        return self.task.headline[0]

    @property
    def lower_is_better(self) -> bool:
        """Direction of `metric`."""
        return lower_is_better(self.metric)

    def rows_of(self, split: str, *, most: int) -> pl.DataFrame:
        """Raw rows of a split, sorted by id; of more than `most`, a draw that depends on ids alone."""
        measurement = self.measurement
        ids = measurement.rows_of_split(split).select("example_id").unique().collect()["example_id"].sort()
        most = min(most, max(1, _MOST_VALUES // self.values_per_row))
        if len(ids) > most:
            ids = ids[np.sort(np.argsort(mix(ids.to_numpy(), _DRAW_SEED), kind="stable")[:most])]
        found = measurement.examples.join(ids.to_frame().lazy(), on="example_id", how="semi").collect()
        if found.height > len(ids):  # rows of one id are in two splits where the source or a time decides
            found = found.filter(assign_split(measurement.split, columns=found.columns) == split)
        return found.sort("example_id", maintain_order=True)

    @property
    def values_per_row(self) -> int:
        """Pixels and tokens of a row, at least 1."""
        return max(1, sum(one.values_per_row for one in self.inputs.values() if not one.is_single))
