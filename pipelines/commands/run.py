"""`headrace run`: bring every stage of a pipeline up to date, and show how it goes."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from components.numerics import NUMERICS
from pipelines.commands import show
from pipelines.commands.progress import Progress
from pipelines.commands.summary import summary
from pipelines.identity import require_lock
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths, ProjectPaths
from pipelines.storage import dvc
from pipelines.storage.graph import stage_graph

USER_ERROR = 2
INTERRUPTED = 128 + signal.SIGINT


def run(pipeline: Pipeline, paths: PipelinePaths) -> int:
    """Return 0 if the pipeline is up to date, 2 if a stage says what to mend, 130 after a Ctrl-C, else 1."""
    require_lock(paths.root, NUMERICS)
    started_seconds = time.monotonic()
    progress = Progress(stage_graph(ProjectPaths(paths.root).dvc, pipeline.name))
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    follow = show.live if on_terminal else show.plain
    try:
        with (
            _signals_as_errors(),
            dvc.repro(paths.root, f"register@{pipeline.name}") as process,
            follow(progress) as take,
        ):
            for line in process.stdout or ():
                take(line)
            progress.end(failed=process.wait() != 0)
    except KeyboardInterrupt:
        typer.echo("interrupted; all that was started has ended", err=True)
        return INTERRUPTED
    if process.returncode != 0:
        return _explain(progress, lines_were_shown=not on_terminal)
    seconds = time.monotonic() - started_seconds
    typer.echo(summary(pipeline, paths, list(progress.stages.values()), seconds=seconds))
    return 0


def _explain(progress: Progress, *, lines_were_shown: bool) -> int:
    """Say what failed, with its last lines if nobody has seen them, and return the exit code."""
    stage = progress.current
    for line in () if lines_were_shown else (stage or progress).lines:
        typer.echo(line, err=True)
    if stage is not None and progress.stage_exit_code is not None:
        typer.echo(f"stage {stage.name} failed with exit code {progress.stage_exit_code}", err=True)
    else:
        typer.echo("dvc repro failed; see what it says above", err=True)
    return USER_ERROR if progress.stage_exit_code == USER_ERROR else 1


@contextmanager
def _signals_as_errors() -> Iterator[None]:
    """Let Ctrl-C, `kill` or a closed terminal end the block like an error, so that it ends what it has started."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for other in previous:
            signal.signal(other, signal.SIG_IGN)  # a second one must not cut the ending short
        if number != signal.SIGINT:
            sys.exit(128 + number)
        raise KeyboardInterrupt

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in previous:
            signal.signal(number, leave)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
