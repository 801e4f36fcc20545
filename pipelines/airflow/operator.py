"""A stage of dvc.yaml as an Airflow task."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from pipelines.storage import dvc

if TYPE_CHECKING:
    import subprocess


def stage_task(stage: str, *, pipeline: str, root: Path) -> BaseOperator:
    """Return the task of one stage. The one place that decides how a stage runs: here, in the worker's own process."""
    return StageOperator(task_id=stage, target=f"{stage}@{pipeline}", root=root)


class StageOperator(BaseOperator):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """Runs `dvc repro --single-item TARGET` in the project, its output in the task's log; a kill ends all of it."""

    template_fields = ("target",)

    def __init__(self, *, target: str, root: Path, **options: Any) -> None:
        super().__init__(**options)
        self.target = target
        self.root = os.fspath(root)  # text, because tasks are kept as JSON
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> None:  # noqa: ARG002
        """Bring the stage up to date; raise AirflowException if it fails."""
        with dvc.repro(Path(self.root), self.target, single_item=True) as self._process:
            for line in self._process.stdout or ():
                if line.strip():
                    self.log.info(line.rstrip())
            exit_code = self._process.wait()
        if exit_code != 0:
            raise AirflowException(f"stage {self.target} failed with exit code {exit_code}; see the lines above")

    def on_kill(self) -> None:
        """End the stage, and all that it has started."""
        if self._process is not None:
            dvc.stop(self._process)
