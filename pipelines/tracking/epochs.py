"""The figures of each epoch on their way to MLflow: shown at once, sent as soon as MLflow answers, each once."""

import time
from pathlib import Path
from typing import Any

import structlog

from components.errors import ServiceError
from pipelines.tracking.runs import log_epoch

RETRY_SECONDS = 60.0

log = structlog.get_logger()


class EpochLog:
    """Epochs that MLflow has not got yet. Training never waits for it: a server that is away is asked again later.

    An epoch that is told twice, because a group of workers was replaced, or that a continued run has from before
    (`logged_epochs`), is sent once.
    """

    def __init__(self, root: Path, run_id: str, *, epochs: int, logged_epochs: int = 0) -> None:
        self._root, self._run_id, self._epochs = root, run_id, epochs
        self._last_epoch = logged_epochs
        self._unsent: list[dict[str, Any]] = []
        self._next_try_seconds = 0.0

    def add(self, figures: dict[str, Any]) -> None:
        """Show one epoch's figures, and send what is unsent unless MLflow was away a moment ago."""
        if figures["epoch"] <= self._last_epoch:
            return
        self._last_epoch = figures["epoch"]
        shown = {name: f"{value:.4g}" for name, value in figures.items() if name not in ("epoch", "seconds")}
        log.info(f"epoch {figures['epoch']}/{self._epochs}", **shown, seconds=figures["seconds"])
        self._unsent.append(figures)
        if time.monotonic() >= self._next_try_seconds:
            self._send()

    def send_rest(self) -> None:
        """Send what is unsent; what can't be sent now is only in history.csv, and a line in the log says so."""
        self._send()
        if self._unsent:
            log.warning("epochs that MLflow never got are in history.csv", run=self._run_id, epochs=len(self._unsent))

    def _send(self) -> None:
        try:
            while self._unsent:
                figures = self._unsent[0]
                metrics = {name: value for name, value in figures.items() if name != "epoch"}
                log_epoch(self._root, self._run_id, epoch=figures["epoch"], metrics=metrics)
                self._unsent.pop(0)
        except ServiceError as error:
            log.warning("MLflow is away; training goes on", unsent_epochs=len(self._unsent), reason=str(error))
            self._next_try_seconds = time.monotonic() + RETRY_SECONDS
