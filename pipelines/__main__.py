"""The command line: its commands and exit codes."""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

import structlog
import typer

from headrace.components.errors import EXIT_SERVICE, ParamsError, UserError
from headrace.components.redaction import redacted
from headrace.pipelines.commands.backup import backup
from headrace.pipelines.commands.check import check
from headrace.pipelines.commands.devices import devices
from headrace.pipelines.commands.diff import diff
from headrace.pipelines.commands.doctor import doctor
from headrace.pipelines.commands.evaluate import evaluate
from headrace.pipelines.commands.export import export
from headrace.pipelines.commands.generate import generate
from headrace.pipelines.commands.ingest import ingest
from headrace.pipelines.commands.init import init
from headrace.pipelines.commands.launch import launch
from headrace.pipelines.commands.lineage import lineage
from headrace.pipelines.commands.list import list_
from headrace.pipelines.commands.models import models
from headrace.pipelines.commands.monitor import monitor
from headrace.pipelines.commands.new import new
from headrace.pipelines.commands.normalize import normalize
from headrace.pipelines.commands.own_code import own_code
from headrace.pipelines.commands.predict import predict
from headrace.pipelines.commands.profile import profile
from headrace.pipelines.commands.promote import promote
from headrace.pipelines.commands.register import register
from headrace.pipelines.commands.reproduce import reproduce
from headrace.pipelines.commands.restore import restore
from headrace.pipelines.commands.results import results
from headrace.pipelines.commands.rollback import rollback
from headrace.pipelines.commands.run import run
from headrace.pipelines.commands.runs import runs
from headrace.pipelines.commands.shadow import shadow
from headrace.pipelines.commands.split import split
from headrace.pipelines.commands.tensorboard import tensorboard
from headrace.pipelines.commands.train import train
from headrace.pipelines.commands.tune import tune
from headrace.pipelines.commands.upgrade import upgrade
from headrace.pipelines.commands.verify import verify
from headrace.pipelines.host.host_problems import host_problem, is_out_of_memory
from headrace.pipelines.host.logs import configure_logging, is_json, log_as
from headrace.pipelines.host.private import make_private
from headrace.pipelines.host.processes import signals_as_errors
from headrace.pipelines.host.traces import traced
from headrace.pipelines.paths import ProjectPaths, project_root
from headrace.pipelines.project.places import require_places
from headrace.pipelines.project.site_cache import name_site_cache

log = structlog.get_logger()

# Nothing heavy may be imported above: `headrace --help` and DVC's calls pay for it. Commands import it
# in their functions.

# In the order of `headrace --help`.
PANELS = {
    "Stages": (ingest, normalize, split, train, evaluate, register),
    "Commands": (
        run,
        init,
        new,
        list_,
        check,
        upgrade,
        doctor,
        profile,
        tensorboard,
        devices,
        tune,
        launch,
        results,
        predict,
        monitor,
        shadow,
        export,
        generate,
        models,
        promote,
        rollback,
        lineage,
        reproduce,
        diff,
        backup,
        restore,
        verify,
    ),
}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for panel, commands in PANELS.items():
    for command in commands:
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)  # list_: `list` is Python's own
app.add_typer(runs, name="runs", rich_help_panel="Commands")
app.command("own-code", hidden=True)(own_code)


def main() -> None:
    """Run the command line; what a user can fix is one readable line on standard error.

    The exit code is 2 for a mistake, and 75 for what may succeed on a retry. That is a service that is away, or a
    machine without room on its disk, memory or permission.
    """
    sys.excepthook = _show_traceback
    try:
        configure_logging()
        log_as(owner=os.environ.get("HEADRACE_OWNER"))
        _prepare_project()
        with traced(_span_name(sys.argv[1:])), signals_as_errors() as received:
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


def _span_name(arguments: Sequence[str]) -> str:
    """The command alone, whatever it is called with: `headrace train`, `headrace runs sweep`."""
    named = [command.__name__.rstrip("_").replace("_", "-") for commands in PANELS.values() for command in commands]
    word = next(iter(arguments), "")
    if word == "runs":
        return " ".join(["headrace", *arguments[:2]])
    return f"headrace {word}" if word in named else "headrace"


def _prepare_project() -> None:
    """Check the places of the project's files, and close its state to others; outside of a project, do nothing."""
    try:
        project = ProjectPaths(project_root())
    except ParamsError:
        return
    require_places(project)
    make_private(project.state)
    name_site_cache(project)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = redacted("".join(traceback.format_exception(kind, error, trace)))
    if is_json():
        log.critical(f"{kind.__name__}: {error}", exception=text)
    else:
        sys.stderr.write(text)


def _exit(problem: str, exit_code: int, *, is_last: bool) -> NoReturn:
    if is_json():
        log.error(problem, exit_code=exit_code)
    else:
        print(f"error: {redacted(problem)}", file=sys.stderr)  # noqa: T201
    if is_last:  # without memory, each of a thousand objects would print that it can't be torn down
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
