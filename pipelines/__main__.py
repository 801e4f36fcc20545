"""The command line: parse, configure logging, call, exit code."""

import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, NoReturn

import structlog
import typer

from headrace.components.errors import EXIT_SERVICE, ParamsError, UserError
from headrace.components.redaction import redacted
from headrace.pipelines.commands.arguments import CheckpointOption, EngineOption, PipelineName, load, load_stage
from headrace.pipelines.commands.engine import open_map
from headrace.pipelines.commands.init import Example
from headrace.pipelines.commands.models_group import models
from headrace.pipelines.commands.runs_group import runs
from headrace.pipelines.commands.store_group import store
from headrace.pipelines.commands.tensorflow_import import import_tensorflow
from headrace.pipelines.host.file_lock import locked
from headrace.pipelines.host.host_problems import host_problem, is_out_of_memory
from headrace.pipelines.host.private import make_private
from headrace.pipelines.host.processes import signals_as_errors
from headrace.pipelines.params import with_workers
from headrace.pipelines.paths import ProjectPaths, project_root
from headrace.pipelines.project.site_cache import name_site_cache

# Nothing heavy may be imported above: `headrace --help` and DVC's calls pay for it. Commands import what they need.

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command(rich_help_panel="Stages")
def ingest(pipeline: PipelineName, engine: EngineOption = None) -> None:
    """Fetch the source, check it against its schema, write typed examples."""
    from headrace.pipelines.stages.ingest import ingest as stage

    settings, paths = load_stage("ingest", pipeline)
    with open_map(engine) as map_, locked(paths.lock):
        stage(settings, paths, map_=map_)


@app.command(rich_help_panel="Stages")
def normalize(pipeline: PipelineName, engine: EngineOption = None) -> None:
    """Fit the transforms on training examples only, apply them to all."""
    from headrace.pipelines.stages.normalize import normalize as stage

    settings, paths = load_stage("normalize", pipeline)
    if settings.normalize.backbone:
        import_tensorflow()
    with open_map(engine) as map_, locked(paths.lock):
        stage(settings, paths, map_=map_)


@app.command(rich_help_panel="Stages")
def split(pipeline: PipelineName, engine: EngineOption = None) -> None:
    """Write train, validation and test by example id."""
    from headrace.pipelines.stages.split import split as stage

    settings, paths = load_stage("split", pipeline)
    with open_map(engine) as map_, locked(paths.lock):
        stage(settings, paths, map_=map_)


@app.command(rich_help_panel="Stages")
def train(
    pipeline: PipelineName,
    workers: Annotated[
        str | None, typer.Option(metavar="N|MIN:MAX", help="How many workers, instead of train.num_workers.")
    ] = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Train from the first step, although the same was trained before.")
    ] = False,
) -> None:
    """Train on Ray with multi-worker TensorFlow."""
    from headrace.pipelines.stages.train import train as stage

    settings, paths = load_stage("train", pipeline)
    with locked(paths.lock):
        stage(settings if workers is None else with_workers(settings, workers), paths, force=force)


@app.command(rich_help_panel="Stages")
def evaluate(pipeline: PipelineName, checkpoint: CheckpointOption = None) -> None:
    """Metrics, figures and one report page on the test split; of a checkpoint, only its metrics as JSON."""
    arguments = load_stage("evaluate", pipeline)  # before TensorFlow's import, which takes seconds
    import_tensorflow()
    from headrace.pipelines.commands.checkpoint import evaluate_checkpoint
    from headrace.pipelines.stages.evaluate import evaluate as stage

    if checkpoint is None:
        with locked(arguments[1].lock):
            stage(*arguments)
    else:
        evaluate_checkpoint(*arguments, named=checkpoint)


@app.command(rich_help_panel="Stages")
def register(pipeline: PipelineName) -> None:
    """Register the model; make it champion if it passes and beats the present one."""
    from headrace.pipelines.stages.register import register as stage

    settings, paths = load_stage("register", pipeline)
    with locked(paths.lock):
        stage(settings, paths)


@app.command(hidden=True)
def own_code() -> None:
    """Write digests of the project's own code for DVC, which runs this before its stages."""
    from headrace.pipelines.project.code_digests import write_digests

    write_digests(ProjectPaths(project_root()))


@app.command(rich_help_panel="Commands")
def run(pipeline: PipelineName) -> None:
    """Run every stage that is out of date, from the raw data to the registered model, and show the progress."""
    from headrace.pipelines.commands.run import run as command

    raise typer.Exit(command(*load(pipeline)))


@app.command(rich_help_panel="Commands")
def init(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Without it, this one.")] = Path(),
    example: Annotated[Example, typer.Option(help="The pipeline that the project starts with.")] = Example.DIGITS,
) -> None:
    """Make a project in a folder, or in a repository that exists: no file that is there is changed."""
    from headrace.pipelines.commands.init import init as command

    raise typer.Exit(command(folder, example))


@app.command(rich_help_panel="Commands")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the pipeline is to be called.")],
    *,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="A table: CSV, TSV, also compressed.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="The table's column to predict; again for more.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Images, in a folder for each class.")] = None,
    idx: Annotated[Path | None, typer.Option(metavar="DIR", help="Pairs of idx files, as MNIST's are.")] = None,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="A text, to predict its next characters.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the section.")] = False,
) -> None:
    """Inspect a data set, print what it seems to be, and add a pipeline for it to params.yaml."""
    from headrace.pipelines.commands.inspect_data import Data
    from headrace.pipelines.commands.new import new as command

    command(ProjectPaths(project_root()), name, Data(csv, tuple(target or ()), images, idx, text), dry_run=dry_run)


@app.command("list", rich_help_panel="Commands")
def list_() -> None:
    """Show the pipelines, and which of their stages are up to date."""
    from headrace.pipelines.commands.list import show_pipelines

    show_pipelines(ProjectPaths(project_root()))


@app.command(rich_help_panel="Commands")
def upgrade(
    requirements: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Take versions from a file of name==version lines.")
    ] = None,
) -> None:
    """Write headrace.lock from what is installed, and show which stages become stale, and why."""
    from headrace.pipelines.commands.upgrade import upgrade as command

    command(ProjectPaths(project_root()), requirements)


@app.command(rich_help_panel="Commands")
def doctor() -> None:
    """Check this installation and its services, and say how to fix each problem."""
    from headrace.pipelines.commands.doctor import doctor as command

    raise typer.Exit(command(ProjectPaths(project_root())))


@app.command(rich_help_panel="Commands")
def profile(
    pipeline: PipelineName,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as it is kept.")] = False,
) -> None:
    """Show what the examples look like, and how they differ from the version before."""
    from headrace.pipelines.commands.show_profile import show_profile

    show_profile(*load(pipeline), as_json=as_json)


@app.command(rich_help_panel="Commands")
def tensorboard(
    pipeline: PipelineName,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On which port; 0 is any free one.")] = 0,
) -> None:
    """Show a training's metrics, weights, graph and pictures in TensorBoard, on this machine only."""
    from headrace.pipelines.commands.start_tensorboard import start_tensorboard

    start_tensorboard(load(pipeline)[1], port=port)


@app.command(rich_help_panel="Commands")
def devices(
    *,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail, with exit code 69, without a GPU.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found and timed as JSON.")] = False,
) -> None:
    """Show the CPU and GPUs that TensorFlow sees, and how fast each is."""
    from headrace.pipelines.commands.show_devices import devices as command

    raise typer.Exit(command(require_gpu=require_gpu, as_json=as_json))


@app.command(rich_help_panel="Commands")
def tune(  # noqa: PLR0913 - each is an option
    pipeline: PipelineName,
    *,
    search: Annotated[
        list[str],
        typer.Option(metavar="PLACE=KIND:VALUES", help="log:L:H, uniform:L:H, integer:L:H, choice:A,B or grid:A,B."),
    ],
    trials: Annotated[int, typer.Option(min=1, help="How often values are drawn, each for all of the grids.")] = 10,
    metric: Annotated[str | None, typer.Option(help="What is compared; without it, train.best_by.")] = None,
    at_once: Annotated[int, typer.Option(min=1, help="How many trials train side by side, one core each.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="How many workers a trial trains on: 1.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the values that are drawn.")] = 1,
    early_stop: Annotated[bool, typer.Option("--early-stop/--no-early-stop", help="Stop poor trials early.")] = True,
    apply: Annotated[bool, typer.Option("--apply", help="Write the best values into params.yaml.")] = False,
) -> None:
    """Search values of params.yaml with Ray Tune, and show the best as a diff."""
    settings, paths = load(pipeline)
    from headrace.pipelines.commands.tune import parse_search
    from headrace.pipelines.commands.tune import tune as command

    wanted = parse_search(
        settings,
        search,
        metric=metric,
        trials=trials,
        seed=seed,
        early_stop=early_stop,
        at_once=at_once,
        workers=workers,
    )
    raise typer.Exit(command(settings, paths, wanted, apply=apply))


@app.command(rich_help_panel="Commands")
def results(
    pipelines: Annotated[list[str] | None, typer.Argument(metavar="[PIPELINE]...", help="Without it, all.")] = None,
    *,
    workers: Annotated[
        str | None, typer.Option(metavar="N|MIN:MAX", help="How many workers, instead of train.num_workers.")
    ] = None,
    page_only: Annotated[bool, typer.Option("--page-only", help="Measure nothing; write the page again.")] = False,
) -> None:
    """Measure pipelines over several seeds or folds, and write docs/results.md."""
    from headrace.pipelines.commands.results import results as command

    command(ProjectPaths(project_root()), pipelines or (), workers=workers, page_only=page_only)


app.add_typer(models)
app.add_typer(store)
app.add_typer(runs, name="runs", rich_help_panel="Commands")


def configure_logging() -> None:
    """Send log lines, readable and timed, to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
            lambda _logger, _method, line: redacted(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Run the command line; what a user can fix is one readable line on standard error.

    The exit code is 2 for a mistake, and 75 for what may succeed on a retry. That is a service that is away, or a
    machine without room on its disk, memory or permission.
    """
    configure_logging()
    sys.excepthook = _show_traceback
    with suppress(ParamsError):  # outside of a project there is nothing to close
        project = ProjectPaths(project_root())
        make_private(project.state)
        name_site_cache(project)
    try:
        with signals_as_errors() as received:
            app()
    except SystemExit as ended:  # to typer, every signal is a Ctrl-C
        sys.exit(128 + received[0] if received and ended.code else ended.code)
    except UserError as error:
        cause = error.__cause__
        code = EXIT_SERVICE if host_problem(cause) is not None else error.exit_code
        _exit(str(error), code, is_last=cause is not None and is_out_of_memory(cause))
    except Exception as error:
        if (problem := host_problem(error)) is None:
            raise
        _exit(problem, EXIT_SERVICE, is_last=is_out_of_memory(error))


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _exit(problem: str, exit_code: int, *, is_last: bool) -> NoReturn:
    print(f"error: {redacted(problem)}", file=sys.stderr)  # noqa: T201
    if is_last:  # without memory, each of a thousand objects would print that it can't be torn down
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
