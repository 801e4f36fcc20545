"""What a judge makes of images that a model generates, for the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headrace.components.plots import figures, image_sheets
from headrace.components.tasks.judge import Judge, judged_metrics, judgement
from headrace.components.tasks.task import Outcome

_ROWS, _COLUMNS = 10, 10  # of the sheet


def generated_outcome(model: Any, judge: Judge, examples: pl.DataFrame) -> Outcome:
    """Metrics, a sheet of samples, and how often each class is among them and among `examples`.

    `examples` are the rows on which the judge itself is measured. Raises DataError for a model that makes no images,
    TrainingError for pixels that are no finite numbers.
    """
    found = judgement(model, judge)
    real = [int((examples[judge.settings.by] == name).sum()) for name in judge.classes]
    counts = {"real": real, "generated": np.bincount(found.named, minlength=len(judge.classes)).tolist()}
    shown = found.samples[: _ROWS * _COLUMNS] * (255 / judge.image[1].maximum)
    drawn = {
        "samples": image_sheets.samples(shown, columns=_COLUMNS),
        "classes_of_samples": figures.class_balance(counts, classes=judge.classes),
    }
    return Outcome(judged_metrics(found, judge, examples), drawn, worst=[])


def development(samples: Mapping[int, NDArray[np.uint8]]) -> dict[str, Figure]:
    """Figure of samples by epoch, under its name; nothing without samples."""
    return {"development": image_sheets.development(samples, columns=_COLUMNS)} if samples else {}
