"""monitoring.json: what a version meets after deployment, and whether it is beyond a limit."""

from datetime import datetime
from typing import Literal

from headrace.components.evaluation.monitoring import Finding
from headrace.pipelines.artifacts.artifact import Artifact, Omittable


class MonitoringReport(Artifact):
    """One check of the predictions of a version; `findings` begin with the alerts."""

    format_version: Literal[1] = 1
    pipeline: str
    version: int
    model_sha256: str
    checked_at: datetime
    predicted_from: datetime
    predicted_to: datetime
    files: int
    rows: int
    labelled_rows: Omittable[int] = None
    alerts: int
    warnings: int
    findings: tuple[Finding, ...]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
