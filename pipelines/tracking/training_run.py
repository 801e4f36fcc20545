"""The MLflow run of one training: each epoch once and the true status, whether or not MLflow is there meanwhile."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from pydantic import Field

from headrace.components.errors import ServiceError
from headrace.components.files.atomic import replace_file
from headrace.components.files.records import read_record
from headrace.components.schema.settings import Settings
from headrace.pipelines.host.processes import why_interrupted
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking.mlflow_runs import Status, close_run, continue_run, log_epoch, open_run, tag_run
from headrace.pipelines.tracking.run_dataset import RunDataset

RETRY_SECONDS = 60.0

log = structlog.get_logger()


class Record(Settings):
    """What MLflow is to know of a training. It is kept in a file, so that it can be sent later."""

    experiment: str
    run_name: str
    tags: dict[str, str]
    params: dict[str, Any]
    dataset: RunDataset | None = None
    run_id: str | None = None
    unsent: tuple[dict[str, float], ...] = ()
    unsent_tags: Mapping[str, str] = Field(default_factory=dict)
    status: Status | None = None
    reason: str | None = None
    is_closed: bool = False


class TrainingRun:
    """The run of the training at hand. Nothing here waits for MLflow or fails without it.

    An epoch that is reported twice, because a group of workers was replaced, or that a continued run has already,
    is sent once.
    """

    def __init__(
        self,
        root: Path,
        record: Record,
        *,
        known_epochs: frozenset[int],
        epochs: int,
        on_change: Callable[[Path], None],
    ) -> None:
        self._root, self._record, self._epochs, self._on_change = root, record, epochs, on_change
        self._known_epochs = set(known_epochs)
        self._next_try_seconds = 0.0

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None while MLflow has not been reached."""
        return self._record.run_id

    def add(self, metrics: Mapping[str, float]) -> None:
        """Show one epoch's metrics, and send what is unsent unless MLflow was away a moment ago."""
        epoch = int(metrics["epoch"])
        if epoch in self._known_epochs:
            return
        self._known_epochs.add(epoch)
        log.info(f"epoch {epoch}/{self._epochs}", **_shown(metrics))
        self._record = self._record.model_copy(update={"unsent": (*self._record.unsent, dict(metrics))})
        if time.monotonic() >= self._next_try_seconds:
            self._send()

    @property
    def tags(self) -> Mapping[str, str]:
        """All tags that the run has been given."""
        return self._record.tags

    def add_system(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Send system metrics of the moment, if MLflow is there; what can't be sent now is left out."""
        if self.run_id is None or time.monotonic() < self._next_try_seconds:
            return
        try:
            log_epoch(self._root, self.run_id, epoch=step, metrics=metrics)
        except ServiceError as error:
            self._next_try_seconds = time.monotonic() + RETRY_SECONDS
            log.warning("MLflow is away; metrics of the workers are left out", reason=str(error))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run."""
        update = {"tags": {**self._record.tags, **tags}, "unsent_tags": {**self._record.unsent_tags, **tags}}
        self._record = self._record.model_copy(update=update)
        self._send()

    def close(self, status: Status, reason: str | None = None) -> None:
        """Give the run its last status; what can't be sent now is kept, for `deliver`."""
        self._record = self._record.model_copy(update={"status": status, "reason": reason})
        self._send()

    def _send(self) -> None:
        self._record, problem = _sent(self._root, self._record)
        _write(self._root, self._record)
        self._on_change(record_file(self._root, self._record.run_name))
        if problem:
            self._next_try_seconds = time.monotonic() + RETRY_SECONDS
            log.warning("MLflow is away; this is sent later", unsent_epochs=len(self._record.unsent), reason=problem)


def begin(  # noqa: PLR0913 - each by its keyword
    root: Path,
    *,
    experiment: str,
    run_name: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    epochs: int,
    dataset: RunDataset | None = None,
    on_change: Callable[[Path], None] = lambda _: None,
) -> TrainingRun:
    """Open the run of this very training: the one that an earlier attempt left unfinished, or a new one.

    `on_change` is called with the record's file whenever it has changed.
    """
    record = _read(record_file(root, run_name))
    if record is None or record.status == "FINISHED":
        record = Record(experiment=experiment, run_name=run_name, tags=dict(tags), params=dict(params), dataset=dataset)
    record = record.model_copy(update={"tags": dict(tags), "status": None, "reason": None, "is_closed": False})
    known: frozenset[int] = frozenset(int(metrics["epoch"]) for metrics in record.unsent)
    try:
        record, known = _continued(root, record, known)
    except ServiceError as error:
        log.warning("MLflow is away; training continues, and this is sent later", reason=str(error))
    _write(root, record)
    on_change(record_file(root, run_name))
    return TrainingRun(root, record, known_epochs=known, epochs=epochs, on_change=on_change)


def deliver(root: Path) -> None:
    """Send MLflow what earlier trainings could not; nothing happens where it knows all."""
    for file in sorted(ProjectPaths(root).training_runs.glob("*.json")):
        record = _read(file)
        if record is None or record.status is None or record.is_closed:
            continue
        record, problem = _sent(root, record)
        _write(root, record)
        if problem:
            log.warning("MLflow is still away", run_name=record.run_name, reason=problem)
            return
        log.info("an earlier training was sent to MLflow", run_name=record.run_name, run=record.run_id)


def settle(root: Path, run_name: str, *, status: Status, reason: str) -> None:
    """Close the run of a training whose own process could not; what can't be sent now is kept, for `deliver`."""
    record = _read(record_file(root, run_name))
    if record is None or record.is_closed:
        return
    record, problem = _sent(root, record.model_copy(update={"status": status, "reason": reason}))
    _write(root, record)
    if problem:
        log.warning("MLflow is away; this is sent later", run_name=run_name, reason=problem)


def forget(root: Path, run_name: str, *, reason: str) -> None:
    """Let the next training of this name open a run of its own, at the first step; an unfinished run ends KILLED."""
    settle(root, run_name, status="KILLED", reason=reason)
    record_file(root, run_name).unlink(missing_ok=True)
    shutil.rmtree(ProjectPaths(root).ray_storage / run_name, ignore_errors=True)


def _continued(root: Path, record: Record, unsent: frozenset[int]) -> tuple[Record, frozenset[int]]:
    """The record with a run that is RUNNING, and the epochs that need not be sent again."""
    if record.run_id is not None:
        logged = continue_run(root, record.run_id, tags=_prefixed(record.tags))
        if logged is not None:
            log.info(
                "an earlier attempt at the same training continues", run_name=record.run_name, logged_epochs=len(logged)
            )
            return record, logged | unsent
        record = record.model_copy(update={"run_id": None, "unsent": ()})
    return record.model_copy(update={"run_id": _open(root, record)}), unsent


def _sent(root: Path, record: Record) -> tuple[Record, str | None]:
    """The record after sending MLflow as much as possible, and what stopped that, None if it knows all."""
    try:
        if record.run_id is None:
            record = record.model_copy(update={"run_id": _open(root, record)})
        run_id = str(record.run_id)
        if record.unsent_tags:
            tag_run(root, run_id, _prefixed(record.unsent_tags))
            record = record.model_copy(update={"unsent_tags": {}})
        while record.unsent:
            unsent = record.unsent[0]
            metrics = {name: value for name, value in unsent.items() if name != "epoch"}
            log_epoch(root, run_id, epoch=int(unsent["epoch"]), metrics=metrics)
            record = record.model_copy(update={"unsent": record.unsent[1:]})
        if record.status is not None:
            close_run(root, run_id, status=record.status, reason=record.reason)
            record = record.model_copy(update={"is_closed": True})
    except ServiceError as error:
        return record, str(error)
    return record, None


def _open(root: Path, record: Record) -> str:
    return open_run(
        root,
        experiment=record.experiment,
        run_name=record.run_name,
        tags=_prefixed(record.tags),
        params=record.params,
        dataset=record.dataset,
    )


def _prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under names of Headrace's own, but for those that MLflow itself shows."""
    own = ("mlflow.", "headrace.")
    return {name if name.startswith(own) else f"headrace.{name}": value for name, value in tags.items()}


def _shown(metrics: Mapping[str, float]) -> dict[str, Any]:
    shown = {name: f"{value:.4g}" for name, value in metrics.items() if not name.startswith(("epoch", "system/"))}
    return shown | {"seconds": metrics["seconds"]}


def record_file(root: Path, run_name: str) -> Path:
    """The file that records what to log to MLflow of a training."""
    return ProjectPaths(root).training_runs / f"{run_name}.json"


def _read(file: Path) -> Record | None:
    return read_record(
        file,
        Record.model_validate_json,
        lost="its training gets a new MLflow run, `headrace runs sweep` ends the old one",
    )


def _write(root: Path, record: Record) -> None:
    with replace_file(record_file(root, record.run_name)) as file:
        file.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


@contextmanager
def truthful_status(run: TrainingRun) -> Iterator[None]:
    """Close the MLflow run as FINISHED, FAILED or KILLED by how the block ends."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        run.close("KILLED", why_interrupted(stopped))
        raise
    except BaseException as error:
        run.close("FAILED", f"{type(error).__name__}: {error}"[:500])
        raise
    run.close("FINISHED")
