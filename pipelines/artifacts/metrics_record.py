"""metrics.json: what a model reaches, on which rows, by which version of evaluation."""

from collections.abc import Mapping
from typing import Literal

from pydantic import ConfigDict, Field

from headrace.components.errors import DataError
from headrace.components.numerics import NUMERICS
from headrace.pipelines.artifacts.artifact import Artifact, Omittable, read_artifact
from headrace.pipelines.artifacts.run_record import RunFile
from headrace.pipelines.paths import PipelinePaths


class MetricsFile(Artifact):
    """The fields below, and beside them each metric by its name, as `dvc metrics` shows them.

    `intervals` has low and high ends at 95 %: lists, because DVC shows what is in a dict as metrics. A metric has none
    where nothing is held out, or of fewer than 20 rows.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    format_version: Literal[2] = 2
    weights_digest: str
    model_sha256: str
    data_digest: str  # of the split that was measured on
    ids_digest: str  # of its raw ids
    outcomes_sha256: str
    evaluation_version: int
    examples: int
    measured_on: Omittable[str] = None
    intervals: dict[str, tuple[float, float]] = Field(default={})

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics alone."""
        return self.__pydantic_extra__


def read_metrics(paths: PipelinePaths) -> MetricsFile:
    """metrics.json alone; raises DataError."""
    return read_artifact(paths.metrics, MetricsFile, command=f"headrace evaluate {paths.pipeline}")


def bound_metrics(paths: PipelinePaths, run: RunFile, *, measured_on: str, data_digest: str) -> MetricsFile:
    """metrics.json, checked to be of the model of `run`, of the split of this digest and of the present evaluation.

    Raises DataError, naming what differs, where it is not.
    """
    found = read_metrics(paths)
    expected = {
        "weights_digest": ("model", run.weights_digest),
        "model_sha256": ("model", run.model_sha256),
        "data_digest": (f"{measured_on} split", data_digest),
        "evaluation_version": ("version of evaluation", NUMERICS["evaluate"]),
    }
    for field, (what, present) in expected.items():
        if (other := getattr(found, field)) != present:
            raise DataError(
                f"{paths.metrics} is of another {what}: expected {field} {str(present)[:12]}, "
                f"found {str(other)[:12]}; run `headrace evaluate {paths.pipeline}` again"
            )
    return found


def named_with_intervals(
    prefix: str, metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Metrics as MLflow has them, such as test_accuracy, with test_accuracy_low and test_accuracy_high."""
    found = {f"{prefix}_{name}": value for name, value in metrics.items()}
    for name, ends in intervals.items():
        found |= {f"{prefix}_{name}_{end}": value for end, value in zip(("low", "high"), ends, strict=True)}
    return found
