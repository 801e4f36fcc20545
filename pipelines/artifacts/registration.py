"""registration.json: which version a model was registered as, and why it is champion or not."""

from typing import Literal

from pydantic import Field

from headrace.components.schema.settings import Settings
from headrace.pipelines.artifacts.artifact import Artifact, Omittable, read_artifact
from headrace.pipelines.paths import PipelinePaths


class MetricAgainstChampion(Settings):
    """A metric of the champion, and by how much the model's differs: low and high at 95 %."""

    champion: float
    difference: float
    low: float
    high: float


class AgainstChampion(Settings):
    """The model beside the champion of then, on the rows that neither was trained on."""

    version: int
    rows: int
    metrics: dict[str, MetricAgainstChampion]
    slices: dict[str, MetricAgainstChampion] = Field(default={})  # `compare.metric` of parts with `minimum_rows`


class RegistrationFile(Artifact):
    """One registration; `version` is the registry's number, and the digests are those that the version's tags have."""

    format_version: Literal[2] = 2
    model: str
    version: int
    alias: str | None
    decision: Literal["promoted", "not promoted"]
    reasons: tuple[str, ...]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    mlflow_run_id: str
    weights_digest: str
    model_sha256: str
    model_md5: str  # by which DVC knows the file
    metrics_sha256: str
    outcomes_sha256: str
    ids_digest: str  # of the rows that it was measured on
    decisions_on_these_rows: int  # with this one
    evaluation_version: int
    test_digest: Omittable[str] = None
    train_digest: Omittable[str] = None
    measured_on: Omittable[str] = None
    against: Omittable[AgainstChampion] = None
    tracking_uri_kind: str


def read_registration(paths: PipelinePaths) -> RegistrationFile:
    """registration.json of a pipeline; raises DataError."""
    return read_artifact(paths.registration, RegistrationFile, command=f"headrace register {paths.pipeline}")
