"""The MLflow runs of a search: one for the search, and below it one for each trial."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from headrace.components.errors import ServiceError
from headrace.components.files.atomic import replace_file
from headrace.components.files.records import read_record
from headrace.pipelines.tracking.mlflow_runs import Status, add_to_run, close_run, continue_run, log_epoch, open_run

PARENT_TAG = "mlflow.parentRunId"  # by which MLflow shows one run below another
RETRY_SECONDS = 60.0
_IDS = TypeAdapter(dict[str, str])  # of MLflow runs, by name

log = structlog.get_logger()


class SearchRuns:
    """Reports a search to MLflow. Nothing here fails without MLflow: what was not sent waits for the next call.

    The runs' ids are kept in `file`, so that a search that is started again continues in the same runs.
    """

    def __init__(self, root: Path, file: Path, *, experiment: str, name: str, tags: Mapping[str, str]) -> None:
        self._root, self._file, self._experiment, self._name = root, file, experiment, name
        self._tags = {f"headrace.{key}": value for key, value in tags.items()}
        self._ids: dict[str, str] = (
            read_record(file, _IDS.validate_json, lost="the search and its trials get new MLflow runs") or {}
        )
        self._known_epochs: dict[int, frozenset[int]] = {}
        self._running: set[int] = set()
        self._unsent: list[Callable[[], None]] = []
        self._next_try_seconds = 0.0

    def begin(self, params: Mapping[str, object]) -> None:
        """Open the run of the search; `params` say what is searched."""

        def begin() -> None:
            self._open(self._name, params, self._tags)

        self._send(begin)

    def begin_trial(self, number: int, values: Mapping[str, object]) -> None:
        """Open the run of a trial, with the values that it has other than params.yaml."""
        self._running.add(number)

        def begin() -> None:
            tags = {**self._tags, "headrace.trial": str(number), PARENT_TAG: self._ids[self._name]}
            self._known_epochs[number] = self._open(self._trial(number), values, tags)

        self._send(begin)

    def add(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one epoch of a trial."""

        def add() -> None:
            epoch = int(metrics["epoch"])
            if epoch not in self._known_epochs[number]:
                logged = {name: value for name, value in metrics.items() if name != "epoch"}
                log_epoch(self._root, self._ids[self._trial(number)], epoch=epoch, metrics=logged)

        self._send(add)

    def end_trial(self, number: int, status: Status, reason: str | None = None) -> None:
        """Give the run of a trial its last status."""
        self._running.discard(number)
        self._send(lambda: self._close(self._trial(number), status, reason, {}))

    def end(
        self,
        status: Status,
        reason: str | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Give the run of the search its last status, and trials that still run the status KILLED."""
        for number in sorted(self._running):
            self.end_trial(number, "KILLED", reason)
        self._next_try_seconds = 0.0
        given = {f"headrace.{key}": value for key, value in (tags or {}).items()}
        if metrics:
            self._send(lambda: self._add_to_search(metrics))
        self._send(lambda: self._close(self._name, status, reason, given))
        if self._unsent:
            log.warning("MLflow is away: it does not know how this search ended", unsent=len(self._unsent))

    def _trial(self, number: int) -> str:
        return f"{self._name}-{number:05d}"

    def _open(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> frozenset[int]:
        """Continue the run of that name that did not finish, or open one; the epochs that it has."""
        known = continue_run(self._root, self._ids[name], tags=tags) if name in self._ids else None
        if known is None:
            run_id = open_run(self._root, experiment=self._experiment, run_name=name, tags=tags, params=params)
            self._ids[name] = run_id
            with replace_file(self._file) as file:
                file.write_text(json.dumps(self._ids, indent=1) + "\n", encoding="utf-8")
        return known or frozenset()

    def _add_to_search(self, metrics: Mapping[str, float]) -> None:
        add_to_run(self._root, self._ids[self._name], metrics=metrics, artifacts=(), artifact_path="")

    def _close(self, name: str, status: Status, reason: str | None, tags: Mapping[str, str]) -> None:
        close_run(self._root, self._ids[name], status=status, reason=reason, tags=tags)

    def _send(self, what: Callable[[], None]) -> None:
        """Do it after all that waits; where MLflow is away it waits too."""
        self._unsent.append(what)
        if time.monotonic() < self._next_try_seconds:
            return
        try:
            while self._unsent:
                self._unsent[0]()
                del self._unsent[0]
        except ServiceError as error:
            self._next_try_seconds = time.monotonic() + RETRY_SECONDS
            log.warning("MLflow is away; this is sent later", reason=str(error))
