"""The command line: parse, configure logging, call, exit code."""

import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer

from components.errors import EXIT_MISTAKE, EXIT_SERVICE, ServiceError, UserError
from pipelines.commands.quiet import import_tensorflow
from pipelines.params import Pipeline, load_pipeline, with_workers
from pipelines.paths import PipelinePaths, ProjectPaths, project_root
from pipelines.storage.disk import disk_problem

# Nothing heavy may be imported above: `headrace --help` and DVC's calls pay for it. Commands import what they need.

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE", help="A name from `pipelines` in params.yaml.")]


def _load(name: str) -> tuple[Pipeline, PipelinePaths]:
    project = ProjectPaths(project_root())
    return load_pipeline(project.params, name), project.of(name)


@app.command(rich_help_panel="Stages")
def ingest(pipeline: PipelineName) -> None:
    """Fetch the source, check it against its schema, write typed examples."""
    from pipelines.stages.ingest import ingest as stage

    stage(*_load(pipeline))


@app.command(rich_help_panel="Stages")
def normalize(pipeline: PipelineName) -> None:
    """Fit the transforms on training examples only, apply them to all."""
    from pipelines.stages.normalize import normalize as stage

    stage(*_load(pipeline))


@app.command(rich_help_panel="Stages")
def split(pipeline: PipelineName) -> None:
    """Write train, validation and test by example id."""
    from pipelines.stages.split import split as stage

    stage(*_load(pipeline))


@app.command(rich_help_panel="Stages")
def train(
    pipeline: PipelineName,
    workers: Annotated[
        str | None, typer.Option(metavar="N|MIN:MAX", help="How many workers, instead of train.num_workers.")
    ] = None,
) -> None:
    """Train on Ray with multi-worker TensorFlow."""
    from pipelines.stages.train import train as stage

    settings, paths = _load(pipeline)
    stage(settings if workers is None else with_workers(settings, workers), paths)


@app.command(rich_help_panel="Stages")
def evaluate(pipeline: PipelineName) -> None:
    """Metrics, figures and one report page on the test split."""
    arguments = _load(pipeline)  # a mistake in params.yaml before the seconds of TensorFlow's import
    import_tensorflow()
    from pipelines.stages.evaluate import evaluate as stage

    stage(*arguments)


@app.command(rich_help_panel="Stages")
def register(pipeline: PipelineName) -> None:
    """Register the model; make it champion if it passes and beats the present one."""
    from pipelines.stages.register import register as stage

    stage(*_load(pipeline))


@app.command(rich_help_panel="Commands")
def run(pipeline: PipelineName) -> None:
    """Bring every stage up to date, from the raw data to the registered model, and show how it goes."""
    from pipelines.commands.run import run as command

    raise typer.Exit(command(*_load(pipeline)))


@app.command("list", rich_help_panel="Commands")
def list_() -> None:
    """Show the pipelines, and which of their stages are up to date."""
    from pipelines.commands.list import show_pipelines

    show_pipelines(ProjectPaths(project_root()))


@app.command(rich_help_panel="Commands")
def doctor() -> None:
    """Look for what is wrong with this installation and its services, and say how to mend it."""
    from pipelines.commands.doctor import doctor as command

    raise typer.Exit(command(ProjectPaths(project_root())))


@app.command(rich_help_panel="Commands")
def predict(
    pipeline: PipelineName,
    input_file: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="Raw rows (CSV or Parquet) or images.", exists=True)
    ],
    output_file: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="CSV or Parquet; without it, a table is shown.")
    ] = None,
    alias: Annotated[str, typer.Option(help="Which registered model.")] = "champion",
) -> None:
    """Predict from raw rows or images with a registered model."""
    from pipelines.commands.predict import predict as command

    command(*_load(pipeline), input_file=input_file, output_file=output_file, alias=alias)


@app.command(rich_help_panel="Commands")
def promote(
    pipeline: PipelineName,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; without it, the newest.")] = None,
) -> None:
    """Make a registered version champion, whatever its metrics are."""
    from pipelines.commands.alias import promote as command

    command(*_load(pipeline), version=version)


@app.command(rich_help_panel="Commands")
def rollback(pipeline: PipelineName) -> None:
    """Make the champion before this one champion again."""
    from pipelines.commands.alias import rollback as command

    command(*_load(pipeline))


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
    settings, paths = _load(pipeline)
    from pipelines.commands.tune import asked
    from pipelines.commands.tune import tune as command

    wanted = asked(
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


runs = typer.Typer(no_args_is_help=True, help="MLflow's runs: list them, close those that nobody trains any more.")
app.add_typer(runs, name="runs", rich_help_panel="Commands")
AnyPipeline = Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Without it, all pipelines.")]


@runs.command("list")
def list_runs_(
    pipeline: AnyPipeline = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
) -> None:
    """Show the newest runs and how they ended."""
    from pipelines.commands.runs import list_runs

    list_runs(ProjectPaths(project_root()), pipeline, limit=limit)


@runs.command("sweep")
def sweep_runs_(
    pipeline: AnyPipeline = None,
    *,
    unreachable_after_hours: Annotated[
        float, typer.Option(min=0, help="When a run whose owner can't be asked counts as lost.")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
) -> None:
    """Close the runs that are RUNNING although nobody trains."""
    from pipelines.commands.runs import sweep_runs

    project = ProjectPaths(project_root())
    sweep_runs(project, pipeline, unreachable_after_hours=unreachable_after_hours, dry_run=dry_run)


def configure_logging() -> None:
    """Send log lines, readable and timed, to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Run the command line; what a person can mend is one readable line on standard error.

    The exit code is 2 for a mistake, 75 for what may go well when it is tried again: a service or disk that is away.
    """
    configure_logging()
    try:
        app()
    except UserError as error:
        _leave(str(error), EXIT_SERVICE if isinstance(error, ServiceError) else EXIT_MISTAKE)
    except Exception as error:
        if (problem := disk_problem(error)) is None:
            raise
        _leave(problem, EXIT_SERVICE)


def _leave(problem: str, exit_code: int) -> NoReturn:
    print(f"error: {problem}", file=sys.stderr)  # noqa: T201
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
