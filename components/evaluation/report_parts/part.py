"""A part of the report: a value, and the template that shows it."""

from typing import ClassVar, Protocol

import numpy as np
import polars as pl

from headrace.components.evaluation.bootstrap import Interval, draws_for, interval_of, resample
from headrace.components.evaluation.paired import keys_of
from headrace.components.evaluation.report_parts.subject import CONFIDENCE
from headrace.components.tasks.row_metrics import RowMetric

_DRAWS = 2_000


class Part(Protocol):
    """Numbers, rows of a table or pictures of one part, frozen. `<name>.html.jinja` beside it shows them as `part`."""

    name: ClassVar[str]
    """The part's anchor on the page, and its template."""

    title: ClassVar[str]
    """Its heading."""


def interval_on(rows: pl.DataFrame, metric: RowMetric) -> Interval | None:
    """Interval of a metric of rows by the bootstrap; None of too few rows."""
    keys = keys_of(rows)
    draws = resample({"": metric}, keys, draws=draws_for(CONFIDENCE, at_least=_DRAWS))[""]
    return interval_of(draws, clusters=len(np.unique(keys)), confidence=CONFIDENCE)
