"""`headrace run`: run every stage of a pipeline that is not up to date, and show the progress."""

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import structlog
import typer

from headrace.components.errors import EXIT_MISTAKE, EXIT_SERVICE
from headrace.components.numerics import NUMERICS
from headrace.pipelines.commands.arguments import PipelineName, load
from headrace.pipelines.commands.check import require_own_model
from headrace.pipelines.headrace_lock import require_lock
from headrace.pipelines.host.host_problems import NO_ROOM, host_problem_in, is_full
from headrace.pipelines.host.logs import error_of, is_json
from headrace.pipelines.host.processes import Stopped
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.code_digests import write_digests
from headrace.pipelines.project.preloading import preloading
from headrace.pipelines.project.up_to_date import Watch, unchanged_stages

if TYPE_CHECKING:
    from headrace.pipelines.commands.progress.repro_progress import Progress

log = structlog.get_logger()

INTERRUPTED = 128 + signal.SIGINT
_WITHOUT_MEMORY = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)


def run(pipeline: PipelineName) -> None:
    """Run every stage that is out of date, from the raw data to the registered model, and show the progress."""
    raise typer.Exit(run_stages(*load(pipeline)))


def run_stages(pipeline: Pipeline, paths: PipelinePaths) -> int:
    """Run the pipeline's stages; exit code 0 if it is up to date, else that of `failure`, 128 + number after a signal.

    Before any work it raises ParamsError for a model of a file that can't be built, as `headrace check` does, and
    StoreError where the registry is gone or damaged: DVC only reads files, and would answer that all is up to date.
    DVC is not started where nothing has changed since it found that.
    """
    from headrace.pipelines.commands.progress import run_display
    from headrace.pipelines.commands.progress.repro_progress import Progress, StageProgress
    from headrace.pipelines.commands.progress.run_summary import summary
    from headrace.pipelines.project.stage_graph import last_targets, stage_graph
    from headrace.pipelines.tracking.server import check

    started_seconds = time.monotonic()
    require_lock(paths.root, NUMERICS)
    check(paths.root)
    _forget_other_registration(paths)
    write_digests(ProjectPaths(paths.root))
    if (stages := unchanged_stages(paths)) is not None:
        unchanged = [StageProgress(stage, "unchanged") for stage in stages]
        typer.echo(summary(pipeline, paths, unchanged, seconds=time.monotonic() - started_seconds))
        return 0
    require_own_model(pipeline, paths)
    dvc.check_lock_file(paths.root)
    watch = Watch(paths)
    dvc_file = ProjectPaths(paths.root).dvc
    targets, progress = last_targets(dvc_file, pipeline.name), Progress(stage_graph(dvc_file, pipeline.name))
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not is_json()
    follow = run_display.live if on_terminal else run_display.plain
    try:
        with (
            preloading(ProjectPaths(paths.root)) as launcher,
            dvc.repro(paths.root, *targets, pipeline=pipeline.name, launcher=launcher) as process,
            follow(progress) as take,
        ):
            for line in process.stdout or ():
                take(line)
            progress.end(failed=process.wait() != 0)
    except KeyboardInterrupt as stopped:
        typer.echo("interrupted; all that was started has ended", err=True)
        return stopped.exit_code if isinstance(stopped, Stopped) else INTERRUPTED
    if process.returncode != 0:
        return _explain(progress, lines_were_shown=not on_terminal, disk_is_full=is_full(paths.root))
    seconds = time.monotonic() - started_seconds
    typer.echo(summary(pipeline, paths, list(progress.stages.values()), seconds=seconds))
    watch.take_notes()
    return 0


def _explain(progress: "Progress", *, lines_were_shown: bool, disk_is_full: bool) -> int:
    """Print what failed, after its last lines if nobody has seen them, and return the exit code."""
    lines = (progress.current or progress).lines
    if process_id := dvc.blocking_process(lines):
        typer.echo(
            f"error: another dvc (process {process_id}) works on this pipeline; run again when it has ended", err=True
        )
        return EXIT_SERVICE
    for line in () if lines_were_shown else lines:
        typer.echo(line, err=True)
    exit_code, problem = failure(progress, disk_is_full=disk_is_full)
    if is_json():
        log.error(problem, exit_code=exit_code)
    else:
        typer.echo(f"error: {problem}", err=True)
    return exit_code


def failure(progress: "Progress", *, disk_is_full: bool = False) -> tuple[int, str]:
    """Exit code and reason of a `dvc repro` that failed.

    A stage's own 2 or 75 is passed on, with its reason. 75 is also for what DVC says that the machine lacks, and for a
    stage that was killed, as without memory. Anything else is 1: a bug.
    """
    stage, code = progress.current, progress.stage_exit_code
    lines = (stage or progress).lines
    own = next((said for line in reversed(lines) if (said := error_of(line)) is not None), "")
    lacking = host_problem_in("\n".join([*lines, NO_ROOM] if disk_is_full else lines)) or ""
    if stage is None or code is None:
        return (EXIT_SERVICE if lacking else 1), f"dvc repro failed: {lacking or 'see what it says above'}"
    failed = f"stage {stage.name} failed with exit code {code}"
    if code in (EXIT_MISTAKE, EXIT_SERVICE):
        return code, f"{failed}: {own or lacking}" if own or lacking else failed
    if number := _signal_of(code):
        # The kernel's out-of-memory killer sends SIGKILL; C++ code without memory aborts.
        killed = f"{failed}, killed by {number.name}"
        memory = "out of memory, or somebody killed it; give the machine more memory, or free some"
        return EXIT_SERVICE, f"{killed}: {lacking or memory if number in _WITHOUT_MEMORY else 'try again'}"
    return 1, failed


def _signal_of(exit_code: int) -> signal.Signals | None:
    """The signal that ended a process, by its exit code as Python (-6) or a shell (134) has it."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    return signal.Signals(number) if number in {one.value for one in signal.Signals} else None


def _forget_other_registration(paths: PipelinePaths) -> None:
    """Remove a registration.json that names a version which this registry does not have: register then runs again."""
    from headrace.pipelines.tracking.server import database_of
    from headrace.pipelines.tracking.store import check_store

    if not paths.registration.is_file():
        return
    try:
        number = dict(json.loads(paths.registration.read_text(encoding="utf-8"))).get("version")
    except (ValueError, TypeError) as error:  # of a file that is no object, or not even JSON
        log.warning("registration.json is damaged; the model is registered again", reason=str(error))
        paths.registration.unlink()
        return
    database = database_of(paths.root)
    if number is None or database is None:  # a server is queried by `register` only
        return
    seen = check_store(database)
    if seen is not None and number <= seen.versions.get(paths.pipeline, 0):
        return
    log.warning(
        "the registry does not have the version that registration.json names; it is registered again", version=number
    )
    paths.registration.unlink()
