"""`headrace launch`: the processes of one training on this machine, without Ray."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import existing_file
from headrace.pipelines.host.process_group import launch_group


def launch(
    program: Annotated[
        Path,
        typer.Argument(help="A Python program that calls headrace.fit, or reads TF_CONFIG.", callback=existing_file),
    ],
    arguments: Annotated[list[str] | None, typer.Argument(help="What the program is called with, after --.")] = None,
    processes: Annotated[int, typer.Option("--processes", "-n", min=1, max=1024, help="Number of processes.")] = 2,
    max_failures: Annotated[
        int, typer.Option(min=0, max=1000, help="How often the group is started again after a process failed.")
    ] = 3,
) -> None:
    """Start PROGRAM several times on this machine, each with TF_CONFIG, and end with it.

    `headrace.fit` in the program trains by these processes. If one fails, the others are ended and the group is started
    again: it continues from the last checkpoint.
    """
    raise typer.Exit(launch_group(program, arguments or [], processes=processes, max_failures=max_failures))
