"""What `dvc repro` says, line by line, as the state of each stage."""

import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from headrace.components.redaction import redacted
from headrace.pipelines.compatibility.dvc_messages import CHATTER, FAILED, STAGE
from headrace.pipelines.project.code_digests import OWN_CODE_STAGE

State = Literal["waiting", "running", "done", "unchanged", "restored", "failed"]
LAST_LINES = 20

_ESCAPE_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class StageProgress:
    """One stage: how far it is, how long it took, and the last lines that it wrote."""

    name: str
    state: State = "waiting"
    started_seconds: float = 0.0
    ended_seconds: float | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    @property
    def seconds(self) -> float:
        """Seconds that it has run so far, or ran."""
        if self.state in ("waiting", "unchanged"):
            return 0.0
        return (time.monotonic() if self.ended_seconds is None else self.ended_seconds) - self.started_seconds


class Progress:
    """All stages of one `dvc repro`, in their order. Feed it each line; read it at any time."""

    def __init__(self, stages: Iterable[str]) -> None:
        self.stages = {name: StageProgress(name) for name in stages}
        self.current: StageProgress | None = None
        self.stage_exit_code: int | None = None
        self.lines: deque[str] = deque(maxlen=LAST_LINES)

    def read(self, line: str) -> str | None:
        """Take in one line; return it, cleaned, if it is a stage's own or an error of DVC, None if it is chatter."""
        line = redacted(_ESCAPE_CODES.sub("", line).rstrip())
        if found := STAGE.match(line):
            self._move_to(found)
            return None
        if CHATTER.match(line):
            return None
        if failed := FAILED.match(line):
            self._fail(failed)
        (self.current.lines if self.current else self.lines).append(line)
        return line

    def end(self, *, failed: bool) -> None:
        """Say that `dvc repro` has ended."""
        if self.current and self.current.state == "running":
            self._finish(self.current, "failed" if failed else "done")

    def _fail(self, failed: re.Match[str]) -> None:
        """DVC may refuse a stage before it starts it: then the stage before that one has not failed."""
        if failed["code"]:
            self.stage_exit_code = int(failed["code"])
        if self.current is None or self.current.name != failed["name"]:
            self.end(failed=False)
            self.current = self.stages.setdefault(failed["name"], StageProgress(failed["name"]))
            self.current.started_seconds = time.monotonic()
        self._finish(self.current, "failed")

    def _move_to(self, found: re.Match[str]) -> None:
        self.end(failed=False)
        if found["name"] == OWN_CODE_STAGE:
            self.current = None
            return
        self.current = self.stages.setdefault(found["name"], StageProgress(found["name"]))
        self.current.started_seconds = time.monotonic()
        if found["running"]:
            self.current.state = "running"
        else:
            self._finish(self.current, "restored" if found["restored"] else "unchanged")

    @staticmethod
    def _finish(stage: StageProgress, state: State) -> None:
        stage.state = state
        stage.ended_seconds = time.monotonic()
