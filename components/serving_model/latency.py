"""How long a saved model takes for one row."""

import statistics
import time
from collections.abc import Mapping

import polars as pl

from headrace.components.schema.features import Feature
from headrace.components.serving_model.saved_model import Model, predict

_NOT_COUNTED = 5  # the first calls build what later ones use
_COUNTED = 50


def median_latency_ms(model: Model, rows: pl.DataFrame, *, features: Mapping[str, Feature]) -> float:
    """Median time of a prediction of one raw row, in milliseconds on this machine; the rows are taken in turn."""
    seconds = []
    for call in range(_NOT_COUNTED + _COUNTED):
        row = rows[call % rows.height]
        begin = time.perf_counter()
        predict(model, row, features=features)
        seconds.append(time.perf_counter() - begin)
    return 1000 * statistics.median(seconds[_NOT_COUNTED:])
