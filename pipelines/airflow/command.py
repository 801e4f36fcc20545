"""A command of `headrace` as an Airflow task, in the project itself."""

import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from headrace.components.redaction import redacted
from headrace.pipelines.airflow.retry_policy import stage_failed
from headrace.pipelines.airflow.tracing import trace_of
from headrace.pipelines.project import dvc

KEPT_LINES = 200
KILL_SECONDS = 3.0  # Airflow gives a task five to end


class CommandOperator(BaseOperator):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """Runs `headrace COMMAND ...` in the project, its output in the task's log; a kill ends it."""

    template_fields = ("command",)

    def __init__(self, *, command: list[str], root: Path, **options: Any) -> None:
        super().__init__(**options)
        self.command, self.root = command, os.fspath(root)
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> None:
        """Run the command; raise StageFailed, by its cause, where it fails."""
        lines: deque[str] = deque(maxlen=KEPT_LINES)
        owner = f"{context['ti'].dag_id}/{context['ti'].run_id}"
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "headrace", *self.command],
            cwd=self.root,
            env={**dvc.environment(), "HEADRACE_OWNER": owner, **trace_of(owner)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as self._process:
            for line in filter(None, (redacted(line.rstrip()) for line in self._process.stdout or ())):
                lines.append(line)
                self.log.info("%s", line)
            exit_code = self._process.wait()
        if exit_code != 0:
            raise stage_failed(" ".join(["headrace", *self.command]), output=lines, exit_code=exit_code)

    def on_kill(self) -> None:
        """End the command."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
