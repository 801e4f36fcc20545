"""One MLflow run per training: opened, logged to, and closed truthfully."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import structlog

from headrace.components.errors import ServiceError
from headrace.components.redaction import redacted
from headrace.pipelines.tracking.run_dataset import RunDataset, log_dataset
from headrace.pipelines.tracking.server import artifact_location, connect, is_missing, mlflow_request

if TYPE_CHECKING:
    from mlflow import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED"]

# MLflow's limits (mlflow.utils.validation).
_MAX_KEY_LENGTH = 250
_MAX_PARAM_LENGTH = 6000
_MAX_TAG_LENGTH = 8000
_MAX_PARAMS_PER_BATCH = 100
_MAX_METRICS_PER_BATCH = 1000
_FORBIDDEN_IN_KEY = re.compile(r"[^\w\-. :/]")

REASON_TAG = "headrace.reason"

log = structlog.get_logger()


def open_run(
    root: Path,
    *,
    experiment: str,
    run_name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    dataset: RunDataset | None = None,
) -> str:
    """Create a run that is RUNNING, with `params` (nested ones by dotted name), `tags` and its data set; its id.

    Raises ServiceError where MLflow can't be reached; one that goes away in the middle keeps a run that is RUNNING.
    """
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"open a run in experiment {experiment!r}"):
        experiment_id = _experiment_id(client, root, experiment)
        run = client.create_run(experiment_id, run_name=run_name, tags=_tags(tags))
        _log_params(client, run.info.run_id, _flat(params))
        if dataset is not None:
            log_dataset(client, run.info.run_id, dataset)
    return str(run.info.run_id)


def continue_run(root: Path, run_id: str, *, tags: Mapping[str, str] | None = None) -> frozenset[int] | None:
    """Make a run that did not finish RUNNING again, and return the epochs it has; None if there is no such run.

    `tags` say who continues it.
    """
    client = connect(root)
    try:
        with mlflow_request(client.tracking_uri, f"continue run {run_id}"):
            run = client.get_run(run_id)
            info = run.info
            if info.status == "FINISHED" or info.lifecycle_stage == "deleted":
                return None
            for key, value in _tags(tags or {}).items():  # first: a sweep checks the process of what is RUNNING
                client.set_tag(run_id, key, value)
            if REASON_TAG in run.data.tags:
                client.delete_tag(run_id, REASON_TAG)  # of an earlier end
            client.update_run(run_id, status="RUNNING")
            return frozenset(metric.step for metric in client.get_metric_history(run_id, "loss"))
    except ServiceError as error:
        if is_missing(error):
            return None
        raise


def tag_run(root: Path, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run; raise ServiceError where MLflow can't be reached."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"tag run {run_id}"):
        for key, value in _tags(tags).items():
            client.set_tag(run_id, key, value)


def log_epoch(root: Path, run_id: str, *, epoch: int, metrics: Mapping[str, float]) -> None:
    """Log the metrics of one epoch in one call; raise ServiceError where MLflow can't be reached."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"log epoch {epoch} of run {run_id}"):
        _log_metrics(client, run_id, metrics, step=epoch)


def close_run(
    root: Path, run_id: str, *, status: Status, tags: Mapping[str, str] | None = None, reason: str | None = None
) -> bool:
    """Give the run its last status and return True; return False, changing nothing, if it has one already.

    `reason` says why in the tag headrace.reason. Raises ServiceError where MLflow can't be reached or has no such run.
    """
    client = connect(root)
    given = {**(tags or {}), **({REASON_TAG: reason} if reason else {})}
    with mlflow_request(client.tracking_uri, f"close run {run_id} as {status}"):
        present = client.get_run(run_id).info.status
        if present in ("FINISHED", "FAILED", "KILLED"):
            if present != status:
                log.warning("run keeps the status that it has", run=run_id, status=present, not_set=status)
            return False
        for key, value in _tags(given).items():
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id, status=status)
    return True


def add_to_run(
    root: Path,
    run_id: str,
    *,
    metrics: Mapping[str, float],
    artifacts: Sequence[Path],
    artifact_path: str,
    tags: Mapping[str, str] | None = None,
) -> bool:
    """Log `metrics`, set `tags`, copy `artifacts` (files, folders) to a run that may be closed; whether it was done.

    Where this server does not know the run or can't be reached, one line in the log says so.
    """
    try:
        client = connect(root)
        with mlflow_request(client.tracking_uri, f"add to run {run_id}"):
            if client.get_run(run_id).info.lifecycle_stage == "deleted":
                raise ServiceError(
                    f"run {run_id} is deleted in MLflow. To have it back: mlflow runs restore --run-id {run_id}"
                )
            _log_metrics(client, run_id, metrics, step=0)
            for key, value in _tags(tags or {}).items():
                client.set_tag(run_id, key, value)
            for artifact in artifacts:
                if artifact.is_dir():
                    client.log_artifacts(run_id, str(artifact), f"{artifact_path}/{artifact.name}")
                else:
                    client.log_artifact(run_id, str(artifact), artifact_path)
    except ServiceError as error:
        log.warning("not in MLflow", run=run_id, left_out=artifact_path, reason=str(error))
        return False
    return True


def add_params(root: Path, run_id: str, params: Mapping[str, object]) -> None:
    """Log params that a run has not; where it has one with another value, the new value is a tag.

    MLflow never changes a param. Raises ServiceError where MLflow can't be reached or has no such run.
    """
    client, flat = connect(root), _flat(params)
    with mlflow_request(client.tracking_uri, f"add params to run {run_id}"):
        known = client.get_run(run_id).data.params
        _log_params(client, run_id, {name: value for name, value in flat.items() if name not in known})
        for name, value in flat.items():
            if known.get(name, value) != value:
                client.set_tag(run_id, _key(f"headrace.params.{name}"), value)


def knows_run(root: Path, run_id: str | None) -> bool:
    """Whether this MLflow has the run, and not deleted; raise ServiceError where it can't be reached."""
    if not run_id:
        return False
    client = connect(root)
    try:
        with mlflow_request(client.tracking_uri, f"read run {run_id}"):
            return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except ServiceError as error:
        if is_missing(error):
            return False
        raise


class RunState(NamedTuple):
    """A run's status, None where this MLflow has no such run, and whether it is deleted."""

    status: str | None
    is_deleted: bool = False


def run_state(root: Path, run_id: str) -> RunState:
    """State of a run; raise ServiceError where MLflow can't be reached."""
    client = connect(root)
    try:
        with mlflow_request(client.tracking_uri, f"read run {run_id}"):
            info = client.get_run(run_id).info
    except ServiceError as error:
        if is_missing(error):
            return RunState(None)
        raise
    return RunState(str(info.status), is_deleted=info.lifecycle_stage == "deleted")


def run_metrics(root: Path, run_id: str) -> dict[str, float]:
    """The last value of each metric of a run; raise ServiceError where MLflow can't be reached or has no such run."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"read run {run_id}"):
        return dict(client.get_run(run_id).data.metrics)


def _experiment_id(client: "MlflowClient", root: Path, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location(root, name)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process has created it meanwhile
    if found.lifecycle_stage == "deleted":
        raise ServiceError(
            f"MLflow's experiment {name!r} is deleted. To have it back: "
            f"mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)


def _log_metrics(client: "MlflowClient", run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
    from mlflow.entities import Metric

    now_milliseconds = int(time.time() * 1000)
    batch = [Metric(_key(name), float(value), now_milliseconds, step) for name, value in metrics.items()]
    for first in range(0, len(batch), _MAX_METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=batch[first : first + _MAX_METRICS_PER_BATCH])


def _log_params(client: "MlflowClient", run_id: str, flat: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    params = [Param(name, value) for name, value in flat.items()]
    for start in range(0, len(params), _MAX_PARAMS_PER_BATCH):
        client.log_batch(run_id, params=params[start : start + _MAX_PARAMS_PER_BATCH])


def _flat(params: Mapping[str, object]) -> dict[str, str]:
    """Params as MLflow takes them, by their dotted names."""
    return {_key(name): _cut(value, _MAX_PARAM_LENGTH) for name, value in _flatten(params)}


def _flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Each leaf by its dotted name; an item of a list has its index for a name."""
    for name, value in values.items():
        match value:
            case Mapping() if value:
                yield from _flatten(value, f"{prefix}{name}.")
            case list() | tuple() if any(isinstance(item, Mapping) for item in value):
                yield from _flatten({str(index): item for index, item in enumerate(value)}, f"{prefix}{name}.")
            case _:
                yield f"{prefix}{name}", value


def _key(name: str) -> str:
    return _FORBIDDEN_IN_KEY.sub("_", name)[:_MAX_KEY_LENGTH]


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_key(name): _cut(value, _MAX_TAG_LENGTH) for name, value in tags.items()}


def _cut(value: object, limit: int) -> str:
    """Value as text, without secrets of addresses; where it is too long for MLflow its end says so."""
    text = redacted(str(value))
    if len(text) <= limit:
        return text
    note = f" [cut: {len(text)} characters]"
    return text[: limit - len(note)] + note
